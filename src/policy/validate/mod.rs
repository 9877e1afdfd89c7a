//! What was written becomes what is meant: ranges, references, contradictions, permanent codes, and the file's own
//! test cases. Every fault is noted; where one is, a default takes its place so that the next is found as well.

mod business;
mod cases;
pub(crate) mod checker;
mod limits;

use crate::admission::GateSettings;

use self::{business::Scope, checker::Checker};
use super::{
    check::check,
    document::{self, Document},
    fault::Faults,
    reader::Notes,
    source::Sources,
    table::{Codes, Policy},
};

/// Makes a policy of its files. `codes` are those that have a name already.
pub(super) fn policy(sources: &Sources, codes: &Codes) -> Result<Policy, Faults> {
    let files = document::parse(sources)?;
    let notes = Notes::default();
    let document = Document::read(&files, &notes);
    let mut faults = notes.faults.into_inner();
    let policy = Checker { faults: &mut faults }.policy(&document, sources, codes);
    // What a faulty policy admits says nothing.
    let failures = if faults.is_empty() { check(&policy) } else { Vec::new() };
    for failure in failures {
        let place = document.tests.get(failure.index).map(|test| test.place.clone()).unwrap_or_default();
        faults.add(&place, failure.to_string());
    }
    faults.into_result(sources)?;
    Ok(policy)
}

impl Checker<'_> {
    fn policy(&mut self, document: &Document, sources: &Sources, codes: &Codes) -> Policy {
        let connections = document.connections.as_ref().map(|text| self.connections(text)).unwrap_or_default();
        let tickets = document.tickets.as_ref().map(|text| self.tickets(text)).unwrap_or_default();
        let gateway = document.gateway.as_ref();
        let gateway_gate = gateway.map_or_else(GateSettings::default, |gateway| self.gate(&gateway.gate));
        let tiers = self.tiers(&document.tiers);
        let mut services = self.services(&document.services, &tiers);
        let scope = Scope { tiers: &tiers, services: &services, connections: &connections, codes };
        let businesses = self.businesses(&document.businesses, &scope);
        self.share(&document.businesses, &businesses, &mut services);
        let tests = self.cases(&document.tests, &businesses, &tiers);
        Policy { revision: sources.revision(), businesses, services, tiers, connections, tickets, gateway_gate, tests }
    }
}
