/* What Rust cannot reach in DPDK: inline functions, macros, thread-local
 * variables, and structs too large to be worth binding. See shim.c. */
#ifndef VR_SHIM_H
#define VR_SHIM_H

#include <stddef.h>
#include <stdint.h>

struct rte_device;
struct rte_mbuf;
struct rte_mempool;

/* Packet path. */
uint16_t vr_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n);
uint16_t vr_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n);
struct rte_mbuf *vr_mbuf_alloc(struct rte_mempool *pool);
void vr_mbuf_free(struct rte_mbuf *m);
int vr_mbuf_linearize(struct rte_mbuf *m);

/* Threads and errors. */
int vr_errno(void);
unsigned int vr_lcore_id(void);

/* What a port says about itself. */
struct vr_port_info {
	struct rte_device *device;
	uint32_t if_index; /* of the kernel interface it stands on, or 0 */
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint8_t rx_ipv4_checksum;
	uint8_t rx_l4_checksum;
	uint8_t tx_ipv4_checksum;
	uint8_t tx_l4_checksum;
	uint8_t tx_tcp_segmentation;
	uint8_t rss;
	uint8_t rx_scatter; /* a frame into several buffers */
	uint8_t tx_chains;  /* a frame from several buffers */
};
int vr_port_info(uint16_t port, struct vr_port_info *info);

/* What a port is to do beyond the least; what it cannot do it does not. */
struct vr_port_wishes {
	uint16_t mtu;         /* in bytes; 0: as it is */
	uint8_t rx_scatter;   /* frames into several buffers */
	uint8_t rx_checksums; /* say of each packet what its checksums are */
	uint8_t tx_chains;    /* frames from several buffers */
	uint8_t tx_finish;    /* compute TCP and UDP checksums, cut TCP segments */
};
int vr_port_configure(uint16_t port, uint16_t rx_queues, uint16_t tx_queues,
		      const struct vr_port_wishes *wishes);
int vr_port_link(uint16_t port, uint32_t *speed_mbps);

/* Sends every later log message of DPDK to `sink`. */
int vr_log_open(void (*sink)(uint32_t level, const char *text, size_t len));

#endif
