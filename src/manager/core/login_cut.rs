//! Who may log in while every gateway is closed: the most important classes, as far as a small part of the usual rate
//! goes. The rest is told to come back spread over the time that it would take to let them all in at that rate.
//!
//! Nobody knows how many wait. But whoever was refused comes back once in the time that it was told, so refusals per
//! second times that time is about how many there are; divided by the rate it gives the next time to tell.

use std::time::Duration;

use super::{fleet_cut::cut_at, placement::Member};
use crate::{admission::Cut, manager::settings::Settings};

/// The shortest and the longest time that refused clients are spread over.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What holds for logins while every gateway is closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoginCut {
    /// Who is let in.
    pub cut: Cut,
    /// Over which time the others spread their return.
    pub wait: Duration,
    /// Logins per second that are let in.
    pub allowed: f64,
}

/// The login cut of a fleet in which nobody is open.
pub(super) fn decide(members: &[Member<'_>], settings: &Settings) -> LoginCut {
    let logins = || members.iter().filter_map(|member| member.report.gate(""));
    let limit: f64 = members.iter().map(|member| member.report.login_limit).sum();
    let allowed = limit * settings.placement.closed_logins;
    let offered: f64 = logins().flat_map(|gate| &gate.offered).map(|&(_, rate)| rate).sum();
    let told = members.iter().map(|member| member.standing.wait).max().unwrap_or_default();
    let waiting = (offered - allowed).max(0.0) * told.max(SHORTEST_WAIT).as_secs_f64();
    let wait = Duration::try_from_secs_f64(waiting / allowed).unwrap_or(LONGEST_WAIT);
    LoginCut { cut: cut_at(logins(), allowed), wait: wait.clamp(SHORTEST_WAIT, LONGEST_WAIT), allowed }
}
