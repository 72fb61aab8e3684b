//! Finds libdpdk, compiles the shim and generates the bindings.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// What Rust sees of DPDK, apart from the shim.
const FUNCTIONS: &[&str] = &[
    // environment
    "rte_eal_alarm_set",
    "rte_eal_init",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
    // buffers
    "rte_mempool_avail_count",
    "rte_pktmbuf_pool_create",
    // devices
    "rte_dev_name",
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_eth_dev_count_avail",
    "rte_eth_find_next",
    // ports
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_disable",
    "rte_eth_promiscuous_enable",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_stats_reset",
    "rte_eth_tx_queue_setup",
    // hash table, for the benchmarks only
    "rte_hash_add_key_data",
    "rte_hash_create",
    "rte_hash_free",
    "rte_hash_lookup_bulk_data",
    // shim.h
    "vr_.*",
];

const VARIABLES: &[&str] = &[
    "LCORE_ID_ANY",
    "RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF",
    "RTE_ETH_NAME_MAX_LEN",
    "RTE_MAX_ETHPORTS",
    "RTE_PKTMBUF_HEADROOM",
    "SOCKET_ID_ANY",
];

/// Only their addresses matter, and their insides change between releases.
const OPAQUE: &[&str] = &[
    "rte_arp_.*",
    "rte_device",
    "rte_ecpri_.*",
    "rte_eth_rxconf",
    "rte_eth_txconf",
    "rte_flow_.*",
    "rte_gtp_psc_.*",
    "rte_hash",
    "rte_l2tpv2_.*",
    "rte_mempool",
];

/// The libraries those functions live in. DPDK loads its drivers itself, from
/// the directory it was built with.
const LIBRARIES: &[&str] = &[
    "rte_ethdev",
    "rte_hash",
    "rte_mbuf",
    "rte_mempool",
    "rte_eal",
];

const NO_DPDK: &str = "vrouter needs DPDK 22.11 or later to build its DPDK ports: install it with \
    `apt-get install libdpdk-dev`, or build without them with `--no-default-features`";

const NO_CLANG: &str = "vrouter needs libclang to read DPDK's headers: install it with \
    `apt-get install libclang-dev`, or build without DPDK ports with `--no-default-features`";

fn main() {
    for file in ["build.rs", "src/shim.c", "src/shim.h", "src/wrapper.h"] {
        println!("cargo::rerun-if-changed={file}");
    }
    for variable in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let (Some(flags), Some(paths)) = (pkg_config("--cflags"), pkg_config("--libs-only-L")) else {
        return refuse(NO_DPDK);
    };
    // bindgen would panic with a page of paths.
    if clang_sys::load().is_err() {
        return refuse(NO_CLANG);
    }
    compile_shim(&flags);
    generate_bindings(&flags);
    for path in paths.iter().filter_map(|flag| flag.strip_prefix("-L")) {
        println!("cargo::rustc-link-search=native={path}");
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

/// What pkg-config answers about libdpdk, word by word.
///
/// Asked directly, because the pkg-config crate drops `-include rte_config.h`
/// and `-march=…`, which decide the layout of DPDK's structs.
fn pkg_config(question: &str) -> Option<Vec<String>> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let answer = Command::new(program)
        .args([question, "libdpdk >= 22.11"])
        .output()
        .ok()?;
    if !answer.status.success() {
        return None;
    }
    let text = String::from_utf8(answer.stdout).ok()?;
    Some(text.split_whitespace().map(str::to_owned).collect())
}

/// Fails the build with one sentence instead of a backtrace.
fn refuse(sentence: &str) {
    println!("cargo::error={sentence}");
}

fn compile_shim(flags: &[String]) {
    let mut build = cc::Build::new();
    // DPDK's inline functions are not warning-free; ours are checked by -Werror.
    build
        .file("src/shim.c")
        .flag("-Wno-deprecated-declarations");
    build.std("gnu11").warnings_into_errors(true);
    for flag in flags {
        build.flag(flag);
    }
    build.compile("vr_shim");
}

fn generate_bindings(flags: &[String]) {
    let mut builder = bindgen::builder()
        .header("src/wrapper.h")
        .clang_args(flags)
        .blocklist_type("rte_mbuf.*") // lib.rs writes out what is needed of it
        .blocklist_type("RTE_MARKER.*")
        .generate_comments(false)
        .derive_default(true)
        .layout_tests(false)
        .wrap_unsafe_ops(true)
        .rust_edition(bindgen::RustEdition::Edition2024);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(name);
    }
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    builder
        .generate()
        .expect("DPDK's headers are readable, since the shim compiled")
        .write_to_file(out.join("bindings.rs"))
        .expect("OUT_DIR is writable");
}
