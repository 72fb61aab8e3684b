/* See shim.h. Each function is a plain wrapper unless it says otherwise. */
#define _GNU_SOURCE /* fopencookie */
#include "shim.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>

/* The other side of each is an assertion in lib.rs. */
#define AT(field, offset) \
	_Static_assert(offsetof(struct rte_mbuf, field) == (offset), "rte_mbuf." #field " moved")
AT(buf_addr, 0);
AT(data_off, 16);
AT(refcnt, 18);
AT(nb_segs, 20);
AT(port, 22);
AT(ol_flags, 24);
AT(pkt_len, 36);
AT(data_len, 40);
AT(buf_len, 54);
AT(pool, 56);
AT(next, 64);
AT(tx_offload, 72);

/* The other side of each is in dataplane/src/io/dpdk/flags.rs. */
_Static_assert(RTE_MBUF_F_RX_L4_CKSUM_BAD == 1ULL << 3, "a flag moved");
_Static_assert(RTE_MBUF_F_RX_L4_CKSUM_GOOD == 1ULL << 8, "a flag moved");
_Static_assert(RTE_MBUF_F_RX_L4_CKSUM_NONE == (1ULL << 3 | 1ULL << 8), "a flag moved");
_Static_assert(RTE_MBUF_F_RX_LRO == 1ULL << 16, "a flag moved");
_Static_assert(RTE_MBUF_F_TX_TCP_SEG == 1ULL << 50, "a flag moved");
_Static_assert(RTE_MBUF_F_TX_TCP_CKSUM == 1ULL << 52, "a flag moved");
_Static_assert(RTE_MBUF_F_TX_UDP_CKSUM == 3ULL << 52, "a flag moved");
_Static_assert(RTE_MBUF_F_TX_IP_CKSUM == 1ULL << 54, "a flag moved");
_Static_assert(RTE_MBUF_F_TX_IPV4 == 1ULL << 55, "a flag moved");
_Static_assert(RTE_MBUF_F_TX_IPV6 == 1ULL << 56, "a flag moved");
_Static_assert(RTE_MBUF_L2_LEN_BITS == 7 && RTE_MBUF_L3_LEN_BITS == 9 &&
	       RTE_MBUF_L4_LEN_BITS == 8 && RTE_MBUF_TSO_SEGSZ_BITS == 16, "a field moved");

uint16_t vr_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, pkts, n);
}

uint16_t vr_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, pkts, n);
}

struct rte_mbuf *vr_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void vr_mbuf_free(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

int vr_mbuf_linearize(struct rte_mbuf *m)
{
	return rte_pktmbuf_linearize(m);
}

int vr_errno(void)
{
	return rte_errno;
}

unsigned int vr_lcore_id(void)
{
	return rte_lcore_id();
}

#define RSS_FIELDS (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP)
#define BOTH(set, a, b) (((set) & ((a) | (b))) == ((a) | (b)))

int vr_port_info(uint16_t port, struct vr_port_info *info)
{
	struct rte_eth_dev_info dev;
	int error = rte_eth_dev_info_get(port, &dev);

	if (error != 0)
		return error;
	*info = (struct vr_port_info){
		.device = dev.device,
		.if_index = dev.if_index,
		.max_rx_queues = dev.max_rx_queues,
		.max_tx_queues = dev.max_tx_queues,
		.rx_ipv4_checksum = (dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) != 0,
		.rx_l4_checksum = BOTH(dev.rx_offload_capa, RTE_ETH_RX_OFFLOAD_UDP_CKSUM,
				       RTE_ETH_RX_OFFLOAD_TCP_CKSUM),
		.tx_ipv4_checksum = (dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0,
		.tx_l4_checksum = BOTH(dev.tx_offload_capa, RTE_ETH_TX_OFFLOAD_UDP_CKSUM,
				       RTE_ETH_TX_OFFLOAD_TCP_CKSUM),
		.tx_tcp_segmentation = (dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0,
		.rss = (dev.flow_type_rss_offloads & RSS_FIELDS) != 0,
		.rx_scatter = (dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) != 0,
		.tx_chains = (dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0,
	};
	return 0;
}

#define RX_CHECKSUMS \
	(RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | \
	 RTE_ETH_RX_OFFLOAD_TCP_CKSUM)

/* No offload is switched on but those wished for. Several receive queues are fed
 * by a hash of the addresses where the device has one. */
int vr_port_configure(uint16_t port, uint16_t rx_queues, uint16_t tx_queues,
		      const struct vr_port_wishes *wishes)
{
	struct rte_eth_dev_info dev;
	struct rte_eth_conf conf = { 0 };
	int error = rte_eth_dev_info_get(port, &dev);

	if (error != 0)
		return error;
	if (rx_queues > 1 && (dev.flow_type_rss_offloads & RSS_FIELDS) != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = dev.flow_type_rss_offloads & RSS_FIELDS;
	}
	conf.rxmode.mtu = wishes->mtu;
	if (wishes->rx_scatter)
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
	if (wishes->rx_checksums)
		conf.rxmode.offloads |= RX_CHECKSUMS;
	if (wishes->tx_chains)
		conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (wishes->tx_finish)
		conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_UDP_CKSUM |
					RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO;
	conf.rxmode.offloads &= dev.rx_offload_capa;
	conf.txmode.offloads &= dev.tx_offload_capa;
	return rte_eth_dev_configure(port, rx_queues, tx_queues, &conf);
}

/* Returns 1 if the link is up, 0 if it is down or unknown. Does not wait. */
int vr_port_link(uint16_t port, uint32_t *speed_mbps)
{
	struct rte_eth_link link = { 0 };

	*speed_mbps = 0;
	if (rte_eth_link_get_nowait(port, &link) != 0)
		return 0;
	if (link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN)
		*speed_mbps = link.link_speed;
	return link.link_status == RTE_ETH_LINK_UP;
}

static void (*log_sink)(uint32_t level, const char *text, size_t len);

static ssize_t log_write(void *cookie, const char *text, size_t len)
{
	(void)cookie;
	log_sink((uint32_t)rte_log_cur_msg_loglevel(), text, len);
	return (ssize_t)len;
}

/* DPDK flushes its stream after each message, so a write is a message. */
int vr_log_open(void (*sink)(uint32_t level, const char *text, size_t len))
{
	FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = log_write });

	if (stream == NULL)
		return -1;
	log_sink = sink;
	return rte_openlog_stream(stream);
}
