//! `vrctl get` and `vrctl delete`: objects by kind and name.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;
use ctl::client::Client;
use ctl::{convert, files, proto};
use proto::object::Object;

use crate::Failure;
use crate::apply::print_outcome;
use crate::cli::{Cli, DeleteArgs, GetArgs, Kind, Output};
use crate::objects;
use crate::rules;

pub(crate) async fn get(socket: &Path, args: GetArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let wanted = Wanted::of(args.kind, &args.name)?;
    let is_one = matches!(wanted, Wanted::One(_));
    let mut client = Client::connect(socket).await?;
    let (objects, generation) = match wanted {
        Wanted::One(key) => {
            let found = client.get(key.clone()).await?;
            let Some(found) = found.filter(|found| is_of(found, args.owner.as_deref())) else {
                return Err(Failure::Refused(format!("there is no {}", shown(&key))));
            };
            (found.object.into_iter().collect(), found.generation)
        }
        Wanted::All => client.list(&[], args.owner).await?,
        Wanted::Kind(vrf) => {
            let (mut objects, generation) = client.list(&[args.kind.proto()], args.owner).await?;
            objects.retain(|stored| vrf.as_ref().is_none_or(|vrf| is_in(stored, vrf)));
            (objects, generation)
        }
    };
    let plain = || objects.iter().filter_map(|stored| stored.object.clone());
    match args.output {
        Output::Table if is_one && args.kind == Kind::Policy => {
            let counts = client.stats_with_rules().await?.rules;
            rules::print(&objects, &counts, out)?;
        }
        Output::Table => objects::print(&objects, args.kind, out)?,
        Output::Yaml => {
            writeln!(out, "# generation {generation}")?;
            out.write_all(files::to_yaml(&plain().collect::<Vec<_>>()).as_bytes())?;
        }
        Output::Json => {
            let data = files::to_data(&plain().collect::<Vec<_>>());
            writeln!(out, "{data:#}")?;
        }
    }
    Ok(())
}

pub(crate) async fn delete(
    socket: &Path,
    args: DeleteArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Wanted::One(key) = Wanted::of(args.kind, &args.name)? else {
        return Err(usage(
            "name one object to delete; a route is VRF PREFIX, a mac VRF MAC",
        ));
    };
    let request = proto::ApplyRequest {
        changes: vec![proto::Change {
            change: Some(proto::change::Change::Delete(key)),
        }],
        owner: args.owner,
        mode: proto::Mode::Merge.into(),
        ..Default::default()
    };
    let mut client = Client::connect(socket).await?;
    let response = client.apply(request).await?;
    if response.outcome() == proto::Outcome::Refused {
        let mut lines = Vec::new();
        for refusal in &response.refusals {
            let object = refusal.object.as_ref().map(shown);
            let parts = [
                object.as_deref().unwrap_or_default(),
                &refusal.field,
                &refusal.reason,
            ];
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            lines.push(parts.join(": "));
        }
        return Err(Failure::Refused(lines.join("\n")));
    }
    Ok(print_outcome(&response, out)?)
}

/// What a kind and a name on the command line mean.
enum Wanted {
    All,
    /// Every object of the kind, or those in one vrf.
    Kind(Option<String>),
    One(proto::Key),
}

impl Wanted {
    fn of(kind: Kind, name: &[String]) -> Result<Wanted, Failure> {
        use proto::key::Key;
        let key = match (kind, name) {
            (Kind::All, []) => return Ok(Wanted::All),
            (Kind::All, _) => return Err(usage("`all` takes no name")),
            (_, []) => return Ok(Wanted::Kind(None)),
            (Kind::Route | Kind::Mac, [vrf]) => return Ok(Wanted::Kind(Some(vrf.clone()))),
            (Kind::Route, [vrf, prefix, ..]) => Key::Route(proto::RouteKey {
                vrf: vrf.clone(),
                prefix: prefix.clone(),
            }),
            (Kind::Mac, [vrf, mac, ..]) => Key::Mac(proto::MacKey {
                vrf: vrf.clone(),
                mac: mac.clone(),
            }),
            (Kind::Vrf, [name]) => Key::Vrf(name.clone()),
            (Kind::Vif, [name]) => Key::Vif(name.clone()),
            (Kind::Nexthop, [name]) => Key::Nexthop(name.clone()),
            (Kind::AddressSet, [name]) => Key::AddressSet(name.clone()),
            (Kind::Policy, [name]) => Key::Policy(name.clone()),
            (Kind::FloatingIp, [name]) => Key::FloatingIp(name.clone()),
            (Kind::SnatPool, [name]) => Key::SnatPool(name.clone()),
            (Kind::Service, [name]) => Key::Service(name.clone()),
            (Kind::Mirror, [name]) => Key::Mirror(name.clone()),
            (Kind::Meter, [name]) => Key::Meter(name.clone()),
            (Kind::Vni, [number]) => match number.parse() {
                Ok(number) => Key::Vni(number),
                Err(_) => return Err(usage(&format!("`{number}` is not a VNI; write a number"))),
            },
            (Kind::Label, [number]) => match number.parse() {
                Ok(number) => Key::Label(number),
                Err(_) => return Err(usage(&format!("`{number}` is not a label; write a number"))),
            },
            (_, [_, more, ..]) => return Err(usage(&format!("`{more}` is one name too many"))),
        };
        let key = proto::Key { key: Some(key) };
        match convert::key(&key) {
            Ok(_) => Ok(Wanted::One(key)),
            Err(problems) => {
                let said = problems
                    .iter()
                    .map(|p| format!("{}: {}", p.field, p.reason));
                Err(usage(&said.collect::<Vec<_>>().join("\n")))
            }
        }
    }
}

impl Kind {
    fn proto(self) -> proto::Kind {
        match self {
            Kind::Vrf => proto::Kind::Vrf,
            Kind::Vif => proto::Kind::Vif,
            Kind::Nexthop => proto::Kind::Nexthop,
            Kind::Route => proto::Kind::Route,
            Kind::Mac => proto::Kind::Mac,
            Kind::Vni => proto::Kind::Vni,
            Kind::Label => proto::Kind::Label,
            Kind::AddressSet => proto::Kind::AddressSet,
            Kind::Policy => proto::Kind::Policy,
            Kind::FloatingIp => proto::Kind::FloatingIp,
            Kind::SnatPool => proto::Kind::SnatPool,
            Kind::Service => proto::Kind::Service,
            Kind::Mirror => proto::Kind::Mirror,
            Kind::Meter => proto::Kind::Meter,
            Kind::All => proto::Kind::Unspecified,
        }
    }
}

fn usage(sentence: &str) -> Failure {
    let error = Cli::command().error(ErrorKind::InvalidValue, sentence);
    Failure::CouldNotAsk(error.render().to_string().trim_end().into())
}

fn shown(key: &proto::Key) -> String {
    convert::key(key).map_or_else(|_| "such object".into(), |key| key.to_string())
}

fn is_of(found: &proto::GetResponse, owner: Option<&str>) -> bool {
    let found = found.object.as_ref().map(|stored| stored.owner.as_str());
    owner.is_none() || found == owner
}

fn is_in(stored: &proto::StoredObject, vrf: &str) -> bool {
    match stored
        .object
        .as_ref()
        .and_then(|object| object.object.as_ref())
    {
        Some(Object::Route(route)) => route.vrf == vrf,
        Some(Object::Mac(mac)) => mac.vrf == vrf,
        _ => true,
    }
}
