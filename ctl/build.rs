//! Compiles the protocol: messages, client, server, and the descriptor set from
//! which server reflection and the YAML reader work.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "vrouter/v1/vrouter.proto",
        "vrouter/v1/config.proto",
        "vrouter/v1/saved.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("vrouter.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
