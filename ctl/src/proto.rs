//! The messages, client and server stubs generated from `proto/vrouter/v1`.
//!
//! The `.proto` files are the reference manual of every field; what fields mean
//! to the engine is in [`crate::convert`].

#![allow(missing_docs, unreachable_pub, reason = "generated")]
#![allow(clippy::all, clippy::unwrap_used, reason = "generated")]

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::yaml::emit;

tonic::include_proto!("vrouter.v1");

/// The compiled `.proto` files as a serialized `FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vrouter.v1.bin"));

/// The message `vrouter.v1.{name}` as data.
///
/// # Panics
/// If there is no such message: `name` is a constant of the caller.
pub fn descriptor(name: &str) -> MessageDescriptor {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build script wrote it")
    });
    POOL.get_message_by_name(&format!("vrouter.v1.{name}"))
        .unwrap_or_else(|| unreachable!("no message {name} in the descriptor set"))
}

/// The largest message the daemon takes, in bytes: some 1.5 million routes.
pub const MAX_MESSAGE_LEN: usize = 64 << 20;

/// A message as data. `name` must be its own.
///
/// # Panics
/// If it is not.
pub(crate) fn dynamic<M: prost::Message>(name: &str, message: &M) -> DynamicMessage {
    let mut dynamic = DynamicMessage::new(descriptor(name));
    dynamic
        .transcode_from(message)
        .unwrap_or_else(|error| unreachable!("{name} is not what was given: {error}"));
    dynamic
}

/// A message as ordered JSON with every key, zeros and empty lists too; 64-bit
/// numbers are numbers. `name` must be its own.
pub fn json<M: prost::Message>(name: &str, message: &M) -> serde_json::Value {
    emit::full_data(&dynamic(name, message))
}

/// An object as JSON under the keys of an objects file, without those that are not set.
pub(crate) fn object_json(object: &Object) -> serde_json::Value {
    let kinds = emit::data(&dynamic("Object", object));
    // There is one kind, which the object's key says already.
    let kinds = kinds.as_object().and_then(|kinds| kinds.values().next());
    kinds.cloned().unwrap_or_default()
}
