//! Objects files: YAML text to the changes of a request, every mistake with
//! its line, and refusals from the daemon put back to the lines they are about.

mod notes;
mod write;

use std::collections::HashMap;

use dataplane::tables::spec::Key;
use prost_reflect::{DynamicMessage, ReflectMessage, Value as ProtoValue};

pub use notes::Mistake;
use notes::{Noted, Notes};
pub use write::{data_to_yaml, short_name, to_data, to_yaml};

use crate::convert;
use crate::proto::object::Object as Written;
use crate::proto::{self, descriptor};
use crate::yaml::tree::{self, Entry, Node, Value};
use crate::yaml::walk::{self, Misfit};

/// The objects of some files, in the order read, and the mistakes in them.
#[derive(Default)]
pub struct ObjectFiles {
    sources: Vec<Source>,
    objects: Vec<Placed>,
    notes: Notes,
    /// Vifs without a device get one made from their name.
    deviceless: bool,
}

/// A file that was read.
struct Source {
    name: String,
    documents: Vec<Node>,
}

/// An object as written and where.
struct Placed {
    written: proto::Object,
    source: usize,
    document: usize,
    /// Key and index of the list it is an item of.
    list: String,
    index: usize,
}

impl ObjectFiles {
    /// For files whose vifs need no `device`, because none will be opened.
    pub fn without_devices() -> ObjectFiles {
        ObjectFiles {
            deviceless: true,
            ..ObjectFiles::default()
        }
    }

    /// Reads one more file; `name` is what mistakes call it. Mistakes in the
    /// text and in single objects are noted, [`Self::mistakes`] lists them.
    pub fn read(&mut self, name: &str, text: &str) {
        match tree::parse(text) {
            Ok(documents) => self.read_documents(name, documents),
            Err(error) => {
                self.read_documents(name, Vec::new());
                self.notes.push(Noted {
                    source: self.sources.len() - 1,
                    line: error.line,
                    object: None,
                    field: String::new(),
                    meant: None,
                    reason: error.reason,
                });
            }
        }
    }

    /// The same, from text that is already a tree.
    pub(crate) fn read_documents(&mut self, name: &str, documents: Vec<Node>) {
        let first = self.objects.len();
        let source = self.sources.len();
        for (number, document) in documents.iter().enumerate() {
            let (message, misfits) = walk::message(&descriptor("Objects"), document);
            let base = self.place_objects(&message, source, number);
            for misfit in misfits {
                self.note_misfit(misfit, source, &base);
            }
        }
        self.sources.push(Source {
            name: name.into(),
            documents,
        });
        if self.deviceless {
            self.objects[first..].iter_mut().for_each(name_device);
        }
        self.note_duplicates(first);
        for object in first..self.objects.len() {
            self.note_problems(object);
        }
    }

    /// Takes the objects out of an `Objects` message; returns for each list the
    /// number of its first object.
    fn place_objects(
        &mut self,
        message: &DynamicMessage,
        source: usize,
        document: usize,
    ) -> HashMap<String, usize> {
        let mut base = HashMap::new();
        for field in message.descriptor().fields() {
            base.insert(field.name().to_owned(), self.objects.len());
            let value = message.get_field(&field);
            let items = value.as_list().unwrap_or_default();
            for (index, item) in items.iter().enumerate() {
                self.objects.push(Placed {
                    written: written(field.name(), item),
                    source,
                    document,
                    list: field.name().into(),
                    index,
                });
            }
        }
        base
    }

    fn note_misfit(&mut self, misfit: Misfit, source: usize, base: &HashMap<String, usize>) {
        let place = |path: &str| {
            let (list, rest) = path.split_once('[')?;
            let (index, field) = rest.split_once(']')?;
            let object = base.get(list)? + index.parse::<usize>().ok()?;
            Some((object, field.trim_start_matches('.').to_owned()))
        };
        let (object, field) = match place(&misfit.path) {
            Some((object, field)) => (Some(object), field),
            None => (None, misfit.path),
        };
        self.notes.push(Noted {
            source,
            line: misfit.line,
            object,
            field,
            meant: misfit.meant.and_then(|path| Some(place(&path)?.1)),
            reason: misfit.reason,
        });
    }

    fn note_duplicates(&mut self, first: usize) {
        let mut seen: HashMap<Key, usize> = HashMap::new();
        for object in 0..self.objects.len() {
            let Some(key) = convert::key_of(&self.objects[object].written) else {
                continue;
            };
            let earlier = *seen.entry(key).or_insert(object);
            if earlier == object || object < first {
                continue;
            }
            let (file, line) = self.place(earlier, "");
            let same_file = self.objects[earlier].source == self.objects[object].source;
            let place = if same_file {
                format!("on line {line}")
            } else {
                format!("in {file}:{line}")
            };
            self.note(object, "", format!("is already {place}; keep one"));
        }
    }

    fn note_problems(&mut self, object: usize) {
        let Err(problems) = convert::object(&self.objects[object].written) else {
            return;
        };
        for problem in problems {
            if !self.notes.say(object, &problem.field, problem.code) {
                self.note(object, &problem.field, problem.reason);
            }
        }
    }

    /// Adds what the daemon said about a request made of [`Self::objects`],
    /// unless it is known already.
    pub fn add_refusals(&mut self, refusals: &[proto::Refusal]) {
        for refusal in refusals {
            let Some(object) = self.subject(refusal) else {
                let subject = refusal.object.as_ref().and_then(|k| convert::key(k).ok());
                let words = subject.map(|key| key.to_string()).into_iter();
                let words = words.chain([refusal.field.clone()]);
                let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
                self.notes.push(Noted {
                    source: usize::MAX,
                    line: 0,
                    object: None,
                    field: words.join(": "),
                    meant: None,
                    reason: refusal.reason.clone(),
                });
                continue;
            };
            if !self.notes.say(object, &refusal.field, refusal.code()) {
                self.note(object, &refusal.field, refusal.reason.clone());
            }
        }
    }

    /// The number of the object that a refusal is about, if it is one of these.
    fn subject(&self, refusal: &proto::Refusal) -> Option<usize> {
        let change = refusal.change.map(|change| change as usize);
        change.filter(|change| *change < self.objects.len())
    }

    /// The request that makes them so.
    pub fn request(&self, owner: &str) -> proto::ApplyRequest {
        let upsert = |object: &proto::Object| proto::Change {
            change: Some(proto::change::Change::Upsert(object.clone())),
        };
        proto::ApplyRequest {
            changes: self.objects().map(upsert).collect(),
            owner: owner.into(),
            mode: proto::Mode::Merge.into(),
            ..Default::default()
        }
    }

    /// The objects as written, in the order of the request.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = &proto::Object> {
        self.objects.iter().map(|placed| &placed.written)
    }

    /// Every mistake so far, in the order of files and lines.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let notes = self.notes.in_order().into_iter();
        notes.map(|noted| self.mistake(noted)).collect()
    }

    /// Whether the files are free of mistakes so far.
    pub fn is_clean(&self) -> bool {
        self.notes.is_empty()
    }

    fn mistake(&self, noted: &Noted) -> Mistake {
        let source = self.sources.get(noted.source);
        let object = noted.object.map(|object| self.label(object));
        Mistake {
            file: source.map(|source| source.name.clone()).unwrap_or_default(),
            line: noted.line,
            object: object.unwrap_or_default(),
            field: noted.field.clone(),
            reason: noted.reason.clone(),
        }
    }

    fn note(&mut self, object: usize, field: &str, reason: String) {
        let (_, line) = self.place(object, field);
        self.notes.push(Noted {
            source: self.objects[object].source,
            line,
            object: Some(object),
            field: field.into(),
            meant: None,
            reason,
        });
    }

    fn place(&self, object: usize, field: &str) -> (&str, usize) {
        let placed = &self.objects[object];
        let source = &self.sources[placed.source];
        let path = format!("{}[{}].{field}", placed.list, placed.index);
        (
            &source.name,
            source.documents[placed.document].line_of(&path),
        )
    }

    /// What messages call an object, however little of its key is there.
    fn label(&self, object: usize) -> String {
        let placed = &self.objects[object];
        let (kind, key) = match &placed.written.object {
            Some(Written::Vrf(w)) => ("vrf", w.name.clone()),
            Some(Written::Vif(w)) => ("vif", w.name.clone()),
            Some(Written::Nexthop(w)) => ("nexthop", w.name.clone()),
            Some(Written::Route(w)) => ("route", format!("{} {}", w.vrf, w.prefix)),
            Some(Written::Mac(w)) => ("mac", format!("{} {}", w.vrf, w.mac)),
            Some(Written::Vni(w)) => ("vni", w.vni.map(|v| v.to_string()).unwrap_or_default()),
            Some(Written::Label(w)) => {
                let number = w.label.map(|label| label.to_string());
                ("label", number.unwrap_or_default())
            }
            Some(Written::AddressSet(w)) => ("address_set", w.name.clone()),
            Some(Written::Policy(w)) => ("policy", w.name.clone()),
            Some(Written::FloatingIp(w)) => ("floating_ip", w.name.clone()),
            Some(Written::SnatPool(w)) => ("snat_pool", w.name.clone()),
            Some(Written::Service(w)) => ("service", w.name.clone()),
            Some(Written::Mirror(w)) => ("mirror", w.name.clone()),
            Some(Written::Meter(w)) => ("meter", w.name.clone()),
            None => ("object", String::new()),
        };
        match key.trim() {
            "" => format!("{kind} number {} of {}", placed.index + 1, placed.list),
            key => format!("{kind} {}", key.escape_debug()),
        }
    }
}

/// Splits a node file's tree: its `objects` go one way, the rest stays.
pub(crate) fn take_objects(node: &mut Node) -> Option<Node> {
    let Value::Map(entries) = &mut node.value else {
        return None;
    };
    let Entry { node, .. } = entries.iter_mut().find(|entry| entry.key == "objects")?;
    let line = node.line;
    let empty = Node {
        line,
        value: Value::Map(Vec::new()),
    };
    Some(std::mem::replace(node, empty))
}

/// An item of the list `list` as an object of the protocol.
fn written(list: &str, item: &ProtoValue) -> proto::Object {
    fn typed<T: prost::Message + Default>(message: &DynamicMessage) -> T {
        message
            .transcode_to()
            .unwrap_or_else(|_| unreachable!("both are generated from one descriptor"))
    }
    let message = item
        .as_message()
        .unwrap_or_else(|| unreachable!("every list of Objects holds messages"));
    let object = match list {
        "vrfs" => Written::Vrf(typed(message)),
        "vifs" => Written::Vif(typed(message)),
        "nexthops" => Written::Nexthop(typed(message)),
        "routes" => Written::Route(typed(message)),
        "macs" => Written::Mac(typed(message)),
        "vnis" => Written::Vni(typed(message)),
        "labels" => Written::Label(typed(message)),
        "address_sets" => Written::AddressSet(typed(message)),
        "policies" => Written::Policy(typed(message)),
        "floating_ips" => Written::FloatingIp(typed(message)),
        "snat_pools" => Written::SnatPool(typed(message)),
        "services" => Written::Service(typed(message)),
        "mirrors" => Written::Mirror(typed(message)),
        "meters" => Written::Meter(typed(message)),
        other => unreachable!("Objects has no list {other}"),
    };
    proto::Object {
        object: Some(object),
    }
}

fn name_device(object: &mut Placed) {
    if let Some(Written::Vif(vif)) = &mut object.written.object
        && vif.device.is_empty()
    {
        vif.device = vif.name.clone();
    }
}
