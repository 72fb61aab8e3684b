//! DPDK's `rte_hash` under measurement, the only unsafe code here.
//!
//! Used as DPDK's guide asks for lock-free readers: looked up in bulk, the
//! default hash (CRC32, not keyed), a number as value in place of a pointer. A
//! user with a whole action per flow would read one more line for it.
#![allow(unsafe_code, reason = "DPDK is C")]

use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use dataplane::io::dpdk::{Eal, EalError, EalOptions, Memory};

use super::flows::{Direction, Family};
use super::ours::capacity;
use super::{BATCH, Contender, Found};

/// A table with lock-free readers.
pub struct RteHash<F> {
    table: NonNull<dpdk_sys::rte_hash>,
    family: PhantomData<F>,
}

/// Starts DPDK, once; huge pages if there are some.
///
/// # Errors
/// Why it does not start.
pub fn start() -> Result<(), String> {
    static STARTED: OnceLock<Result<Eal, EalError>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        let (memory, _) = Memory::detect(4);
        let megabytes = match memory {
            Memory::Huge => 4, // and more as tables are made
            Memory::NoHuge => 4096,
        };
        Eal::start(&EalOptions {
            memory,
            megabytes,
            ..EalOptions::default()
        })
    });
    let started = started.as_ref();
    started.map(|_| ()).map_err(EalError::to_string)
}

impl<F: Family> RteHash<F> {
    /// A table that holds the first `flows` flows, with as much room beyond
    /// them as ours has.
    ///
    /// # Errors
    /// What DPDK refused.
    pub fn new(flows: u32) -> Result<RteHash<F>, String> {
        start()?;
        let entries = 2 * capacity(flows) as u32;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("bench{number}")).unwrap_or_default();
        let parameters = dpdk_sys::rte_hash_parameters {
            name: name.as_ptr(),
            entries,
            key_len: size_of::<F::Compact>() as u32,
            extra_flag: dpdk_sys::RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF as u8,
            ..Default::default()
        };
        // SAFETY: DPDK has started; it copies the parameters and the name.
        let table = unsafe { dpdk_sys::rte_hash_create(&parameters) };
        let Some(table) = NonNull::new(table) else {
            return Err(format!(
                "rte_hash has no memory for {entries} entries; it takes reserved huge pages \
                 (sysctl vm.nr_hugepages)"
            ));
        };
        let mut table = RteHash {
            table,
            family: PhantomData,
        };
        (0..2 * flows).try_for_each(|direction| table.insert(direction))?;
        Ok(table)
    }

    fn insert(&mut self, direction: Direction) -> Result<(), String> {
        let key = F::compact(direction);
        let value = ptr::without_provenance_mut(direction as usize);
        // SAFETY: the table is alive, and copies `key_len` bytes of the key.
        let status = unsafe {
            dpdk_sys::rte_hash_add_key_data(self.table.as_ptr(), (&raw const key).cast(), value)
        };
        if status == 0 {
            Ok(())
        } else {
            Err(format!("rte_hash took {direction} keys and no more"))
        }
    }
}

impl<F> Drop for RteHash<F> {
    fn drop(&mut self) {
        // SAFETY: made by rte_hash_create and freed nowhere else.
        unsafe { dpdk_sys::rte_hash_free(self.table.as_ptr()) }
    }
}

impl<F: Family> Contender for RteHash<F> {
    type Key = F::Compact;
    const NAME: &'static str = "rte_hash";

    #[inline]
    fn key(direction: Direction) -> F::Compact {
        F::compact(direction)
    }

    #[inline]
    fn lookup(&mut self, keys: &[F::Compact]) -> Found {
        assert!(keys.len() <= BATCH);
        let mut pointers: [*const c_void; BATCH] = [ptr::null(); BATCH];
        for (pointer, key) in pointers.iter_mut().zip(keys) {
            *pointer = ptr::from_ref(key).cast();
        }
        let mut values = [ptr::null_mut::<c_void>(); BATCH];
        let mut hits = 0_u64;
        // SAFETY: as many pointers to keys of `key_len` bytes as are said to be
        // there, and room for as many values; BATCH is below DPDK's limit of 64.
        unsafe {
            dpdk_sys::rte_hash_lookup_bulk_data(
                self.table.as_ptr(),
                pointers.as_mut_ptr(),
                keys.len() as u32,
                &mut hits,
                values.as_mut_ptr(),
            )
        };
        let mut found = Found::default();
        while hits != 0 {
            found.add(values[hits.trailing_zeros() as usize].addr() as u32);
            hits &= hits - 1;
        }
        found
    }
}
