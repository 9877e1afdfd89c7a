//! What a file of the kit says: a script of steps, read strictly and written with one step on a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, ser::Formatter};

/// A script.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) about: String,
    pub(crate) client: Settings,
    pub(crate) steps: Vec<Step>,
}

/// What the client is made with.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) outbox: u64,
    pub(crate) gateways: Vec<String>,
    pub(crate) login_ms: u64,
    pub(crate) keep_for_ms: u64,
}

/// One thing that happens, or that the client must do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Step {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    #[serde(flatten)]
    pub(crate) action: Action,
    /// The number of the connection; the newest if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) within_ms: Option<[u64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) over_seeds: Option<OverSeeds>,
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Why the gateway closes, where that is all it says: the close code of a WebSocket, less 4000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<u32>,
    /// The bytes of `gateway_sends`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hex: Option<String>,
}

/// The steps, by what a file calls them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    AppSubmits(Submission),
    AppCancels(u64),
    AppSees(Value),
    ClientDials(Value),
    ClientSends(Frame),
    ClientCloses(u64),
    GatewayAccepts(u64),
    GatewaySends(Vec<Frame>),
    GatewayCloses(u64),
    PauseMs(u64),
}

impl Action {
    /// What the client must do, rather than what happens to it.
    pub(crate) fn is_expectation(&self) -> bool {
        match self {
            Self::AppSees(_) | Self::ClientDials(_) | Self::ClientSends(_) | Self::ClientCloses(_) => true,
            Self::AppSubmits(_)
            | Self::AppCancels(_)
            | Self::GatewayAccepts(_)
            | Self::GatewaySends(_)
            | Self::GatewayCloses(_)
            | Self::PauseMs(_) => false,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Submission {
    pub(crate) business: String,
    pub(crate) payload: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) no_reply: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keep_for_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<u64>,
}

/// A frame: `{"Reply": {"payload": "hi"}, "id": 1, "business": 20}`, or `{"raw": "hexadecimal"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Frame {
    /// One entry: the kind, and the fields of the message.
    #[serde(flatten)]
    pub(crate) body: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Value>,
    /// One frame for each from the first to the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ids: Option<[u64; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) business: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flags: Option<Value>,
}

/// What must be so over all seeds, because one delay alone shows nothing.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverSeeds {
    pub(crate) some_below_ms: u64,
    pub(crate) some_above_ms: u64,
}

/// An event or a frame with `ids` stands for one with each of them.
pub(crate) fn each_id(value: &Value) -> Vec<Value> {
    let Some(bounds) = value.get("ids").and_then(Value::as_array) else { return vec![value.clone()] };
    let [first, last] = [0, 1].map(|index| bounds[index].as_u64().unwrap());
    let with_id = |id: u64| {
        let mut one = value.clone();
        one.as_object_mut().unwrap().remove("ids");
        one["id"] = id.into();
        one
    };
    (first..=last).map(with_id).collect()
}

impl Frame {
    /// The kind and its fields.
    pub(crate) fn body(&self) -> (&str, &Value) {
        let mut entries = self.body.iter();
        match (entries.next(), entries.next()) {
            (Some((kind, fields)), None) => (kind, fields),
            _ => panic!("a frame has one kind: {:?}", self.body),
        }
    }
}

impl Case {
    /// As it stands in its file.
    pub(crate) fn to_text(&self) -> String {
        let steps: Vec<_> = self.steps.iter().map(|step| format!("    {}", line(step))).collect();
        let (about, client) = (line(&self.about), line(&self.client));
        format!("{{\n  \"about\": {about},\n  \"client\": {client},\n  \"steps\": [\n{}\n  ]\n}}\n", steps.join(",\n"))
    }
}

/// JSON on one line that can be read.
pub(crate) fn line(value: &impl Serialize) -> String {
    let mut text = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Spaced)).unwrap();
    String::from_utf8(text).unwrap()
}

/// A space behind each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}
