//! What goes wrong: drawn from the seed, at any step.

use std::time::Duration;

use dagor::{gateway::connection::Ending, wire::Reason};

use crate::{
    trace::Count,
    world::{CLIENTS, Event, GATEWAYS, INSTANCES, World},
};

impl World {
    /// One fault.
    pub(crate) fn fault(&mut self) {
        let draw = self.random.u32(0..100);
        self.trace.note(self.now, "fault", [draw.into(), 0, 0]);
        match draw {
            0..22 => self.cut_some_link(),
            22..30 => self.crash_gateway(),
            30..33 => self.drain_gateway(),
            33..41 => self.crash_instance(),
            41..47 => self.kill_client(),
            47..49 => self.close_some_client(),
            49..59 => self.stop_reader(),
            59..70 => self.partition(),
            70..74 => self.lose_stream(),
            74..76 => self.pause_instance(),
            76..81 => self.lose_registry(),
            81..82 => {
                self.count(Count::RegistryEmptied);
                self.routes.empty();
            }
            82..87 => {
                self.count(Count::StoreAway);
                self.store_away_until = self.now + self.millis(100, 5_000);
            }
            87..94 => self.jump_a_clock(),
            _ => {
                self.count(Count::Shedding);
                let gateway = self.random.usize(0..GATEWAYS);
                self.gateways[gateway].sheds_until = self.now + self.millis(100, 4_000);
            }
        }
    }

    fn some_link(&mut self) -> Option<usize> {
        // Only the last few can be open.
        let from = self.links.len().saturating_sub(12);
        let open: Vec<_> = (from..self.links.len()).filter(|&at| self.links[at].open).collect();
        self.random.choice(&open).copied()
    }

    fn cut_some_link(&mut self) {
        let Some(link) = self.some_link() else { return };
        self.count(Count::LinkCut);
        let told = [self.random.u32(0..3) > 0, self.random.u32(0..3) > 0];
        self.trace.note(self.now, "cut", [link as u64, u64::from(told[0]), u64::from(told[1])]);
        self.cut(link, told);
    }

    fn crash_gateway(&mut self) {
        let gateway = self.random.usize(0..GATEWAYS);
        if self.gateways[gateway].is_up() {
            self.count(Count::GatewayCrash);
            let silent = self.random.u32(0..3) == 0;
            self.trace.note(self.now, "gateway crashes", [gateway as u64, u64::from(silent), 0]);
            self.stop_gateway(gateway, silent);
        }
    }

    /// Clients are told to move, then that it is over, then it is.
    fn drain_gateway(&mut self) {
        let gateway = self.random.usize(0..GATEWAYS);
        if !self.gateways[gateway].is_up() {
            return;
        }
        self.count(Count::GatewayDrain);
        let within = self.millis(10, 1_000);
        self.gateways[gateway].end_all(&Ending::Goaway(Reason::Draining, within));
        self.gateway_turns(gateway);
        if self.random.bool() {
            self.gateways[gateway].end_all(&Ending::Close(Reason::Draining));
            self.gateway_turns(gateway);
        }
        let (at, run) = (self.now + within + Duration::from_millis(500), self.gateways[gateway].run);
        self.schedule(at, Event::StopGateway { gateway, run });
    }

    fn crash_instance(&mut self) {
        let instance = self.random.usize(0..INSTANCES);
        if self.instances[instance].up {
            self.count(Count::InstanceCrash);
            self.trace.note(self.now, "instance crashes", [instance as u64, 0, 0]);
            self.stop_instance(instance);
        }
    }

    fn kill_client(&mut self) {
        let client = self.random.usize(0..CLIENTS);
        if self.clients[client].agent.is_none() {
            return;
        }
        let power = self.random.u32(0..3) == 0;
        self.count(if power { Count::PowerLoss } else { Count::ClientCrash });
        self.trace.note(self.now, "client dies", [client as u64, u64::from(power), 0]);
        self.end_client(client, power, false);
        let at = self.now + self.millis(1, 4_000);
        self.schedule(at, Event::StartClient { client });
    }

    fn close_some_client(&mut self) {
        let client = self.random.usize(0..CLIENTS);
        if self.clients[client].agent.is_some() {
            self.count(Count::Reopened);
            self.close_client(client);
        }
    }

    /// Nothing is read from a connection for a while.
    fn stop_reader(&mut self) {
        let Some(link) = self.some_link() else { return };
        self.count(Count::ReaderStopped);
        let (up, takes) = (self.random.u32(0..4) == 0, self.millis(200, 12_000));
        self.links[link].pipe(up).blocked_until = self.now + takes;
    }

    fn partition(&mut self) {
        let (client, gateway) = (self.random.usize(0..CLIENTS), self.random.usize(0..GATEWAYS));
        self.count(Count::Partition);
        let until = self.now + self.millis(300, 15_000);
        match self.random.u32(0..3) {
            0 => self.partitions[client][gateway] = [until; 2],
            way => self.partitions[client][gateway][way as usize - 1] = until,
        }
    }

    fn lose_stream(&mut self) {
        let from = self.streams.len().saturating_sub(20);
        let open: Vec<_> = (from..self.streams.len()).filter(|&at| !self.streams[at].broken).collect();
        if let Some(&stream) = self.random.choice(&open) {
            self.count(Count::StreamLost);
            self.break_stream(stream);
        }
    }

    /// Its machine is paused: gateways give it up, and it goes on later as if nothing had been.
    fn pause_instance(&mut self) {
        let instance = self.random.usize(0..INSTANCES);
        if self.instances[instance].up {
            self.count(Count::InstancePaused);
            self.instances[instance].still_until = self.now + self.millis(500, 12_000);
            self.break_streams(|stream| stream.instance == instance);
        }
    }

    fn lose_registry(&mut self) {
        self.count(Count::RegistryAway);
        self.routes.away_until = self.now + self.millis(100, 8_000);
    }

    /// The time of day of one process is set, by seconds or by an hour.
    fn jump_a_clock(&mut self) {
        self.count(Count::ClockJump);
        let most = if self.random.bool() { 3_000 } else { 3_600_000 };
        let by = self.random.i64(-most..most);
        if self.random.bool() {
            let gateway = self.random.usize(0..GATEWAYS);
            self.gateways[gateway].skew = by;
        } else {
            let client = self.random.usize(0..CLIENTS);
            self.client_skew[client] = by;
        }
    }
}
