//! Objects and other data as files and words.

use crate::proto;
use crate::proto::object::Object as Written;
use crate::yaml::{emit, walk};

/// Objects as data in the shape of an objects file: lists by kind, in order.
pub fn to_data(objects: &[proto::Object]) -> serde_json::Value {
    let mut lists = proto::Objects::default();
    for object in objects {
        match object.object.clone() {
            Some(Written::Vrf(w)) => lists.vrfs.push(w),
            Some(Written::Vif(w)) => lists.vifs.push(w),
            Some(Written::Nexthop(w)) => lists.nexthops.push(w),
            Some(Written::Route(w)) => lists.routes.push(w),
            Some(Written::Mac(w)) => lists.macs.push(w),
            Some(Written::Vni(w)) => lists.vnis.push(w),
            Some(Written::Label(w)) => lists.labels.push(w),
            Some(Written::AddressSet(w)) => lists.address_sets.push(w),
            Some(Written::Policy(w)) => lists.policies.push(w),
            Some(Written::FloatingIp(w)) => lists.floating_ips.push(w),
            Some(Written::SnatPool(w)) => lists.snat_pools.push(w),
            Some(Written::Service(w)) => lists.services.push(w),
            Some(Written::Mirror(w)) => lists.mirrors.push(w),
            Some(Written::Meter(w)) => lists.meters.push(w),
            None => {}
        }
    }
    emit::data(&proto::dynamic("Objects", &lists))
}

/// Objects as the text of an objects file, one to a line.
pub fn to_yaml(objects: &[proto::Object]) -> String {
    emit::yaml(&to_data(objects))
}

/// Data as YAML text, list items one to a line.
pub fn data_to_yaml(data: &serde_json::Value) -> String {
    emit::yaml(data)
}

/// The word for an enum value in files and tables: `ROLE_TENANT` of `Role` is `tenant`.
pub fn short_name(enum_name: &str, value_name: &str) -> String {
    walk::short_name(enum_name, value_name)
}
