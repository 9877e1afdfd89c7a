//! The bytes of an outbox file: frames that prove themselves, so that an end that was torn off by a crash is told from
//! damage in the middle.
//!
//! ```text
//! file   magic (8)  secret (16)  frame  frame  frame ...
//! frame  length of the body (4)  check of place and length (4)  body  check of place and body (8)
//! ```
//!
//! Numbers are big endian. The checks are SipHash-1-3 with the file's random secret, so that no payload can look like a
//! frame. A body is a batch of records, encoded as protobuf: a frame is kept whole or not at all.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use siphasher::sip::SipHasher13;

use crate::{
    client::{Kept, KeptMessage, Record},
    id::{MessageId, OutboxId},
};

const MAGIC: [u8; 8] = *b"dagorob1";
const SECRET_BYTES: usize = 16;
pub(super) const HEAD_BYTES: usize = MAGIC.len() + SECRET_BYTES;
const FRAME_HEAD_BYTES: usize = 8;
const CHECK_BYTES: usize = 8;

/// Where the damage begins, and what it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: usize,
    pub(super) what: &'static str,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) user: String,
    pub(super) kept: Kept,
}

/// Writes frames that belong to one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    secret: [u8; SECRET_BYTES],
}

impl Writer {
    pub(super) fn new(secret: [u8; SECRET_BYTES]) -> Self {
        Self { secret }
    }

    /// A whole file that holds this and no more.
    pub(super) fn file(&self, user: &str, kept: &Kept) -> Vec<u8> {
        let mut file = [&MAGIC[..], &self.secret[..]].concat();
        let created = What::Created(Created { outbox: kept.outbox.0, user: user.to_owned() });
        let reserved = Record::Reserved(kept.reserved_through);
        let head = [reserved, Record::Ticket(kept.ticket.clone())];
        self.append(&mut file, 0, std::iter::once(created).chain(head.iter().map(What::from)));
        for (&id, message) in &kept.messages {
            self.append(&mut file, 0, [What::from(&Record::Accepted(id, message.clone()))]);
        }
        file
    }

    /// The frame for these records at this place of the file.
    pub(super) fn frame(&self, offset: usize, records: &[Record]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.append(&mut frame, offset, records.iter().map(What::from));
        frame
    }

    /// Appends a frame to what begins at `base` of the file.
    fn append(&self, out: &mut Vec<u8>, base: usize, changes: impl IntoIterator<Item = What>) {
        let at = base + out.len();
        let changes = changes.into_iter().map(|what| Change { what: Some(what) }).collect();
        let body = Batch { changes }.encode_to_vec();
        let length = (body.len() as u32).to_be_bytes();
        out.extend_from_slice(&length);
        out.extend_from_slice(&(self.check(at, &length) as u32).to_be_bytes());
        out.extend_from_slice(&body);
        out.extend_from_slice(&self.check(at, &body).to_be_bytes());
    }

    fn check(&self, at: usize, bytes: &[u8]) -> u64 {
        let place = (at as u64).to_be_bytes();
        SipHasher13::new_with_key(&self.secret).hash(&[&place, bytes].concat())
    }

    /// The body of the frame at this place, and where the next one begins.
    fn read<'a>(&self, file: &'a [u8], at: usize) -> Option<(&'a [u8], usize)> {
        let [length, check] = file.get(at..at + FRAME_HEAD_BYTES)?.as_chunks::<4>().0 else { return None };
        if self.check(at, length) as u32 != u32::from_be_bytes(*check) {
            return None;
        }
        let end = (at + FRAME_HEAD_BYTES).checked_add(u32::from_be_bytes(*length) as usize)?;
        let body = file.get(at + FRAME_HEAD_BYTES..end)?;
        let check = file.get(end..end + CHECK_BYTES)?.first_chunk::<CHECK_BYTES>()?;
        (self.check(at, body) == u64::from_be_bytes(*check)).then_some((body, end + CHECK_BYTES))
    }
}

/// Reads a file. An end that is no whole frame was torn off by a crash, and is left out; nothing in it was ever kept.
pub(super) fn read(file: &[u8]) -> Result<Contents, Damage> {
    let damage = |offset, what| Damage { offset, what };
    let secret = file.strip_prefix(&MAGIC).and_then(|rest| rest.first_chunk::<SECRET_BYTES>());
    let writer = Writer::new(*secret.ok_or(damage(0, "it is no outbox of this version"))?);
    let (mut at, mut contents) = (HEAD_BYTES, None);
    while at < file.len() {
        let Some((body, next)) = writer.read(file, at) else {
            // Frames are written one behind the other: if one follows, this one had been whole.
            if (at + 1..file.len()).any(|later| writer.read(file, later).is_some()) {
                return Err(damage(at, "the checksum is wrong"));
            }
            break;
        };
        apply(body, &mut contents).ok_or(damage(at, "the record is not known to this version"))?;
        at = next;
    }
    // A file gets its name when its first frame is in it, so no crash leaves one without.
    contents.ok_or(damage(HEAD_BYTES, "the first record is missing"))
}

fn apply(body: &[u8], contents: &mut Option<Contents>) -> Option<()> {
    for change in Batch::decode(body).ok()?.changes {
        match (change.what?, &mut *contents) {
            (What::Created(created), None) => {
                *contents = Some(Contents { user: created.user, kept: Kept::new(OutboxId(created.outbox)) });
            }
            (What::Created(_), Some(_)) | (_, None) => return None,
            (what, Some(contents)) => contents.kept.apply(what.record()?),
        }
    }
    Some(())
}

#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    changes: Vec<Change>,
}

#[derive(Clone, PartialEq, Message)]
struct Change {
    #[prost(oneof = "What", tags = "1, 2, 3, 4, 5")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(message, tag = "1")]
    Created(Created),
    #[prost(message, tag = "2")]
    Accepted(Accepted),
    #[prost(uint64, tag = "3")]
    Settled(u64),
    #[prost(bytes = "bytes", tag = "4")]
    Ticket(Bytes),
    #[prost(uint64, tag = "5")]
    Reserved(u64),
}

#[derive(Clone, PartialEq, Message)]
struct Created {
    #[prost(fixed64, tag = "1")]
    outbox: u64,
    #[prost(string, tag = "2")]
    user: String,
}

#[derive(Clone, PartialEq, Message)]
struct Accepted {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    business: String,
    #[prost(bytes = "bytes", tag = "3")]
    payload: Bytes,
    #[prost(bool, tag = "4")]
    wants_reply: bool,
    #[prost(uint64, optional, tag = "5")]
    try_timeout_nanos: Option<u64>,
    #[prost(uint64, tag = "6")]
    accepted_unix_ms: u64,
    #[prost(uint64, tag = "7")]
    keep_for_nanos: u64,
}

impl From<&Record> for What {
    fn from(record: &Record) -> Self {
        match record {
            Record::Accepted(id, message) => Self::Accepted(Accepted {
                id: id.0,
                business: message.business.clone(),
                payload: message.payload.clone(),
                wants_reply: message.wants_reply,
                try_timeout_nanos: message.try_timeout.map(nanos),
                accepted_unix_ms: message.accepted_unix_ms,
                keep_for_nanos: nanos(message.keep_for),
            }),
            // A file need not tell them apart.
            Record::Settled(id) | Record::GivenUp(id) => Self::Settled(id.0),
            Record::Ticket(ticket) => Self::Ticket(ticket.clone()),
            Record::Reserved(through) => Self::Reserved(through.0),
        }
    }
}

impl What {
    fn record(self) -> Option<Record> {
        Some(match self {
            Self::Created(_) => return None,
            Self::Accepted(accepted) => Record::Accepted(MessageId(accepted.id), accepted.message()),
            Self::Settled(id) => Record::Settled(MessageId(id)),
            Self::Ticket(ticket) => Record::Ticket(ticket),
            Self::Reserved(through) => Record::Reserved(MessageId(through)),
        })
    }
}

impl Accepted {
    fn message(self) -> KeptMessage {
        KeptMessage {
            business: self.business,
            payload: self.payload,
            wants_reply: self.wants_reply,
            try_timeout: self.try_timeout_nanos.map(Duration::from_nanos),
            accepted_unix_ms: self.accepted_unix_ms,
            keep_for: Duration::from_nanos(self.keep_for_nanos),
        }
    }
}

/// 584 years are as good as for ever.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
