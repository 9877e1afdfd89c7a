//! What was written in the files, with its places; nothing is judged but types, units and unknown keys.

use std::time::Duration;

use toml::{Spanned, de::DeTable};

use super::{
    fault::{Collector, Faults, Place},
    reader::{At, Notes, Table},
    source::Sources,
};

/// A file with the structure that its syntax gives it.
pub(crate) type File<'t> = Spanned<DeTable<'t>>;

/// Finds the structure of every file.
///
/// # Errors
///
/// The syntax errors of all files. What stands where is guesswork after one, so that nothing else is looked at then.
pub(crate) fn parse(sources: &Sources) -> Result<Vec<File<'_>>, Faults> {
    let mut faults = Collector::default();
    let mut files = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let (file, errors) = DeTable::parse_recoverable(&source.text);
        files.push(file);
        for error in errors {
            let place = Place { file: index, span: error.span().unwrap_or(0..0), path: String::new() };
            faults.add(&place, error.message());
        }
    }
    faults.into_result(sources)?;
    Ok(files)
}

/// The files of a policy, read into one: lists add up, a plain table may stand in one file only.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) connections: Option<ConnectionsText>,
    pub(super) gateway: Option<GatewayText>,
    pub(super) tickets: Option<TicketsText>,
    pub(super) tiers: Vec<TierText>,
    pub(super) services: Vec<ServiceText>,
    pub(super) businesses: Vec<BusinessText>,
    pub(super) tests: Vec<TestText>,
}

/// `[connections]`
#[derive(Debug, Default)]
pub(super) struct ConnectionsText {
    pub(super) place: Place,
    pub(super) max: Option<At<u64>>,
    pub(super) max_per_ip: Option<At<Option<u64>>>,
    pub(super) login_rate: Option<At<f64>>,
    pub(super) login_burst: Option<At<u64>>,
    pub(super) handshake_timeout: Option<At<Duration>>,
    pub(super) heartbeat: Option<At<Duration>>,
    pub(super) heartbeat_tolerance: Option<At<Duration>>,
    pub(super) max_age: Option<At<Option<Duration>>>,
    pub(super) max_body_before_login: Option<At<u64>>,
    pub(super) max_body: Option<At<u64>>,
    pub(super) max_in_flight: Option<At<u64>>,
    pub(super) outgoing_bytes: Option<At<u64>>,
    pub(super) outgoing_bytes_total: Option<At<u64>>,
    pub(super) max_unacked_pushes: Option<At<u64>>,
    pub(super) keep_for: Option<At<Duration>>,
    pub(super) drain: Option<At<Duration>>,
}

/// `[tickets]`
#[derive(Debug, Default)]
pub(super) struct TicketsText {
    pub(super) place: Place,
    pub(super) keys_file: Option<At<String>>,
    pub(super) validity: Option<At<Duration>>,
}

/// `[gateway]`
#[derive(Debug, Default)]
pub(super) struct GatewayText {
    pub(super) place: Place,
    pub(super) gate: GateText,
}

/// `[gateway.gate]` and `[service.gate]`
#[derive(Debug, Default)]
pub(super) struct GateText {
    pub(super) controller: Option<At<String>>,
    pub(super) target: Option<At<Duration>>,
    pub(super) window: Option<At<Duration>>,
    pub(super) window_requests: Option<At<u64>>,
    pub(super) patience: Option<At<Duration>>,
    pub(super) mode: Option<At<String>>,
}

/// `[[tier]]`
#[derive(Debug, Default)]
pub(super) struct TierText {
    pub(super) place: Place,
    pub(super) name: Option<At<String>>,
    pub(super) levels: Option<At<(u64, u64)>>,
}

/// `[[service]]`
#[derive(Debug, Default)]
pub(super) struct ServiceText {
    pub(super) place: Place,
    pub(super) name: Option<At<String>>,
    pub(super) balance: Option<At<String>>,
    pub(super) gate: GateText,
    pub(super) capacity: Option<At<u64>>,
    pub(super) max_in_flight: Option<At<Option<u64>>>,
    pub(super) marks: MarksText,
    pub(super) presence: Option<At<bool>>,
}

/// `[service.marks]`
#[derive(Debug, Default)]
pub(super) struct MarksText {
    pub(super) levels: Option<At<Option<(u64, u64)>>>,
    pub(super) tiers: Option<Vec<At<String>>>,
    pub(super) longest: Option<At<Duration>>,
}

/// `[[business]]`
#[derive(Debug, Default)]
pub(super) struct BusinessText {
    pub(super) place: Place,
    pub(super) name: Option<At<String>>,
    pub(super) code: Option<At<u64>>,
    pub(super) priority: Option<At<u64>>,
    pub(super) service: Option<At<String>>,
    pub(super) tiers: Option<Vec<At<String>>>,
    pub(super) timeout: Option<At<Duration>>,
    pub(super) min_share: Option<At<f64>>,
    pub(super) ordering: Option<At<String>>,
}

/// `[[test]]`
#[derive(Debug, Default)]
pub(super) struct TestText {
    pub(super) place: Place,
    pub(super) name: Option<At<String>>,
    pub(super) business: Option<At<String>>,
    pub(super) user_level: Option<At<u64>>,
    pub(super) tier: Option<At<String>>,
    pub(super) cut: Option<At<String>>,
    pub(super) expect: Option<At<String>>,
}

impl Document {
    /// Reads every file.
    pub(super) fn read(files: &[File<'_>], notes: &Notes) -> Self {
        let mut document = Self::default();
        for (index, file) in files.iter().enumerate() {
            document.read_file(Table::root(notes, index, file.get_ref()), notes);
        }
        document
    }

    fn read_file(&mut self, mut root: Table<'_>, notes: &Notes) {
        if let Some(table) = root.table("connections") {
            once(notes, &mut self.connections, |c| &c.place, ConnectionsText::read(table));
        }
        if let Some(table) = root.table("gateway") {
            once(notes, &mut self.gateway, |g| &g.place, GatewayText::read(table));
        }
        if let Some(table) = root.table("tickets") {
            once(notes, &mut self.tickets, |t| &t.place, TicketsText::read(table));
        }
        self.tiers.extend(root.tables("tier").into_iter().map(TierText::read));
        self.services.extend(root.tables("service").into_iter().map(ServiceText::read));
        self.businesses.extend(root.tables("business").into_iter().map(BusinessText::read));
        self.tests.extend(root.tables("test").into_iter().map(TestText::read));
        root.finish();
    }
}

/// Keeps the first of several tables that may stand in one file only.
fn once<T>(notes: &Notes, slot: &mut Option<T>, place: impl Fn(&T) -> &Place, read: T) {
    if slot.is_some() {
        let place = place(&read);
        notes.faults.borrow_mut().add(place, format!("`[{}]` stands in another file already", place.path));
    } else {
        *slot = Some(read);
    }
}

impl ConnectionsText {
    fn read(mut table: Table<'_>) -> Self {
        let read = Self {
            place: table.place.clone(),
            max: table.whole("max"),
            max_per_ip: table.whole_or("max_per_ip", "unlimited"),
            login_rate: table.rate("login_rate"),
            login_burst: table.whole("login_burst"),
            handshake_timeout: table.duration("handshake_timeout"),
            heartbeat: table.duration("heartbeat"),
            heartbeat_tolerance: table.duration("heartbeat_tolerance"),
            max_age: table.duration_or("max_age", "unlimited"),
            max_body_before_login: table.size("max_body_before_login"),
            max_body: table.size("max_body"),
            max_in_flight: table.whole("max_in_flight"),
            outgoing_bytes: table.size("outgoing_bytes"),
            outgoing_bytes_total: table.size("outgoing_bytes_total"),
            max_unacked_pushes: table.whole("max_unacked_pushes"),
            keep_for: table.duration("keep_for"),
            drain: table.duration("drain"),
        };
        table.finish();
        read
    }
}

impl TicketsText {
    fn read(mut table: Table<'_>) -> Self {
        let place = table.place.clone();
        let read = Self { place, keys_file: table.text("keys_file"), validity: table.duration("validity") };
        table.finish();
        read
    }
}

impl GatewayText {
    fn read(mut table: Table<'_>) -> Self {
        let place = table.place.clone();
        let gate = table.table("gate").map(GateText::read).unwrap_or_default();
        table.finish();
        Self { place, gate }
    }
}

impl GateText {
    fn read(mut table: Table<'_>) -> Self {
        let read = Self {
            controller: table.text("controller"),
            target: table.duration("target"),
            window: table.duration("window"),
            window_requests: table.whole("window_requests"),
            patience: table.duration("patience"),
            mode: table.text("mode"),
        };
        table.finish();
        read
    }
}

impl TierText {
    fn read(mut table: Table<'_>) -> Self {
        let read = Self { place: table.place.clone(), name: table.text("name"), levels: table.pair("levels") };
        table.require(&["name", "levels"]);
        table.finish();
        read
    }
}

impl ServiceText {
    fn read(mut table: Table<'_>) -> Self {
        let mut read = Self {
            place: table.place.clone(),
            name: table.text("name"),
            balance: table.text("balance"),
            presence: table.flag("presence"),
            gate: table.table("gate").map(GateText::read).unwrap_or_default(),
            marks: table.table("marks").map(MarksText::read).unwrap_or_default(),
            ..Self::default()
        };
        if let Some(mut queue) = table.table("queue") {
            read.capacity = queue.whole("capacity");
            read.max_in_flight = queue.whole_or("max_in_flight", "adaptive");
            queue.finish();
        }
        table.require(&["name"]);
        table.finish();
        read
    }
}

impl MarksText {
    fn read(mut table: Table<'_>) -> Self {
        let levels = table.pair_or("levels", "none");
        let read = Self { levels, tiers: table.texts("tiers"), longest: table.duration("longest") };
        table.finish();
        read
    }
}

impl BusinessText {
    fn read(mut table: Table<'_>) -> Self {
        let read = Self {
            place: table.place.clone(),
            name: table.text("name"),
            code: table.whole("code"),
            priority: table.whole("priority"),
            service: table.text("service"),
            tiers: table.texts("tiers"),
            timeout: table.duration("timeout"),
            min_share: table.number("min_share"),
            ordering: table.text("ordering"),
        };
        table.require(&["name", "code"]);
        table.finish();
        read
    }
}

impl TestText {
    fn read(mut table: Table<'_>) -> Self {
        let read = Self {
            place: table.place.clone(),
            name: table.text("name"),
            business: table.text("business"),
            user_level: table.whole("user_level"),
            tier: table.text("tier"),
            cut: table.text("cut"),
            expect: table.text("expect"),
        };
        table.require(&["name", "business", "cut", "expect"]);
        table.finish();
        read
    }
}
