//! Who asks for what, and when: a function of the seed alone, whatever becomes of earlier tasks.

use std::time::Duration;

use rand_distr::{Distribution as _, Exp1, StandardUniform, Zipf};
use rand_pcg::Pcg64;

use super::random::{Purpose, fraction, mix, number, stream};
use crate::{
    admission::{Level, PriorityKey, UserHash, Value},
    clock::Timestamp,
    id::MessageId,
    sim::{
        guard::UserLevels,
        scenario::{self, Scenario, Source, Tier, profile::Profile},
        trace::Arrivals,
    },
};

/// Where tasks come from.
#[derive(Debug)]
pub(super) enum Stream<'s> {
    /// From chance.
    Drawn(Box<Drawn>),
    /// From a trace: the tasks to come, and business and user of the one that comes next.
    Replayed(Arrivals<'s>, (usize, u32)),
}

/// A stream of tasks with a rate of its own.
#[derive(Debug)]
pub(super) struct Drawn {
    profile: Profile,
    arrivals: scenario::Arrivals,
    gaps: Pcg64,
    marks: Pcg64,
    /// The businesses of its tasks with the sums of their shares.
    businesses: Vec<(usize, f64)>,
    /// The integral of the rate at the last arrival.
    so_far: f64,
}

/// All streams of a scenario; the shared traffic and the trace are times `load`.
pub(super) fn streams(scenario: &Scenario, load: f64, seed: u64) -> Vec<Stream<'_>> {
    let replayed = scenario.replay.as_ref().map(|replay| Stream::Replayed(replay.arrivals(load, seed, chance), (0, 0)));
    replayed.into_iter().chain(drawn(scenario, load, seed)).collect()
}

fn chance(seed: u64, key: u64) -> f64 {
    fraction(number(seed, Purpose::Gaps, key))
}

fn drawn(scenario: &Scenario, load: f64, seed: u64) -> impl Iterator<Item = Stream<'_>> {
    let (mut shared, mut sum, mut own) = (Vec::new(), 0.0, Vec::new());
    for (index, business) in scenario.businesses.iter().enumerate() {
        match &business.source {
            // All of these come from the trace.
            Source::Share(_) if scenario.replay.is_some() => {}
            Source::Share(share) => {
                sum += share;
                shared.push((index, sum));
            }
            Source::Own(profile) => own.push((vec![(index, 1.0)], profile.clone())),
        }
    }
    let shared = (sum > 0.0).then(|| (shared, scenario.traffic.times(load)));
    let all = shared.into_iter().chain(own).enumerate();
    all.map(move |(index, (businesses, profile))| {
        Stream::Drawn(Box::new(Drawn {
            profile,
            arrivals: scenario.arrivals,
            gaps: stream(seed, Purpose::Gaps, index),
            marks: stream(seed, Purpose::Marks, index),
            businesses,
            so_far: 0.0,
        }))
    })
}

impl Stream<'_> {
    /// When the next task arrives, if one does.
    pub(super) fn next_arrival(&mut self) -> Option<Timestamp> {
        match self {
            Self::Drawn(drawn) => drawn.next_arrival(),
            Self::Replayed(arrivals, next) => {
                let arrival = arrivals.next()?;
                *next = (arrival.business, arrival.user);
                Some(Timestamp::ZERO + arrival.at)
            }
        }
    }

    /// Business and user of the task that arrives.
    pub(super) fn draw(&mut self, users: &Population) -> (usize, u32) {
        match self {
            Self::Drawn(drawn) => drawn.draw(users),
            Self::Replayed(_, next) => *next,
        }
    }
}

impl Drawn {
    fn next_arrival(&mut self) -> Option<Timestamp> {
        let gap: f64 = match self.arrivals {
            scenario::Arrivals::Poisson => Exp1.sample(&mut self.gaps),
            scenario::Arrivals::Even => 1.0,
        };
        self.so_far += gap;
        let seconds = self.profile.when(self.so_far)?;
        Some(Timestamp::ZERO + Duration::try_from_secs_f64(seconds).ok()?)
    }

    fn draw(&mut self, users: &Population) -> (usize, u32) {
        let total = self.businesses.last().map_or(0.0, |(_, sum)| *sum);
        let drawn: f64 = StandardUniform.sample(&mut self.marks);
        let place = self.businesses.partition_point(|(_, sum)| *sum <= drawn * total);
        let business = self.businesses[place.min(self.businesses.len() - 1)].0;
        (business, users.draw(&mut self.marks))
    }
}

/// The users: where each stands and how it behaves.
#[derive(Debug)]
pub(super) struct Population {
    count: u32,
    activity: Option<Zipf<f64>>,
    hashes: Vec<UserHash>,
    tiers: Vec<(u8, u8)>,
    clients: Vec<u8>,
}

/// Every user level.
const ALL_LEVELS: (u8, u8) = (0, 127);
/// For how long a hash of the paper holds.
const HOUR_SECONDS: u64 = 3600;

impl Population {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let users = &scenario.users;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number(seed, Purpose::Users, 0).to_le_bytes());
        let key = PriorityKey(key);
        let hashes: Vec<_> = (0..users.count).map(|user| key.user(&user.to_le_bytes())).collect();
        let tiers: Vec<_> = users.tiers.iter().map(|tier| tier.share).collect();
        let clients: Vec<_> = scenario.clients.iter().map(|client| client.share).collect();
        // Two independent lots of each user, so that tiers and behaviours do not go together.
        let lot = |user: &UserHash, salt: u64| fraction(mix(user.bits() ^ salt));
        let tier = |user| users.tiers.get(chosen(&tiers, lot(user, 1))).map_or(ALL_LEVELS, |tier: &Tier| tier.levels);
        Self {
            count: users.count,
            activity: (users.skew > 0.0)
                .then(|| Zipf::new(f64::from(users.count), users.skew).expect("a checked scenario")),
            tiers: hashes.iter().map(tier).collect(),
            clients: hashes.iter().map(|user| chosen(&clients, lot(user, 2)) as u8).collect(),
            hashes,
        }
    }

    fn draw(&self, random: &mut Pcg64) -> u32 {
        let last = self.count - 1;
        let user = match &self.activity {
            Some(zipf) => zipf.sample(random) as u32 - 1,
            None => {
                let drawn: f64 = StandardUniform.sample(random);
                (drawn * f64::from(self.count)) as u32
            }
        };
        user.min(last)
    }

    /// Which of the scenario's clients this user is.
    pub(super) fn client(&self, user: u32) -> usize {
        usize::from(self.clients[user as usize])
    }

    /// A number that spreads users over gateways and instances.
    pub(super) fn spread(&self, user: u32) -> u64 {
        mix(self.hashes[user as usize].bits() ^ 3)
    }

    /// The value of a user's task, as the gateway gives it.
    pub(super) fn value(&self, user: u32, priority: u8, task: u64, now: Timestamp, levels: UserLevels) -> Value {
        let (hash, tier) = (self.hashes[user as usize], self.tiers[user as usize]);
        let since_start = now.since(Timestamp::ZERO);
        let level = match levels {
            UserLevels::Shifting => hash.level(since_start, tier),
            UserLevels::Hourly => {
                let hour = since_start.as_secs() / HOUR_SECONDS;
                UserHash::from_bits(mix(hash.bits().wrapping_add(hour))).level(Duration::ZERO, tier)
            }
        };
        Value::new(Level::new(priority, level), hash.grain(MessageId(task)))
    }
}

/// The index of the share that `lot` (0 to 1) falls into.
fn chosen(shares: &[f64], lot: f64) -> usize {
    let total: f64 = shares.iter().sum();
    let mut sum = 0.0;
    for (index, share) in shares.iter().enumerate() {
        sum += share;
        if lot * total < sum {
            return index;
        }
    }
    shares.len().saturating_sub(1)
}
