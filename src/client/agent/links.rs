//! The agent's streams: at most one that is logged in and one that is on its way there.

use std::sync::Arc;

use bytes::BytesMut;

use super::{Agent, ClientEvent, Command, LinkId, Stage};
use crate::{
    client::{CloseReason, Connection, Event, Login, RequestError, Session, event::Try},
    clock::Timestamp,
    id::MessageId,
};

/// A stream and what is spoken on it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) link: LinkId,
    pub(super) address: String,
    /// When the login must be done.
    pub(super) deadline: Timestamp,
    /// `None` until the stream is open.
    pub(super) connection: Option<Connection>,
    /// Since when it is logged in.
    pub(super) welcomed: Option<Timestamp>,
}

impl Line {
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.connection.as_ref().map_or(Some(self.deadline), Connection::poll_timeout)
    }

    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        self.connection.as_ref().and_then(Connection::session)
    }

    pub(super) fn forget_try(&mut self, id: MessageId) {
        if let Some(connection) = &mut self.connection {
            connection.forget_try(id);
        }
    }

    pub(super) fn send_try(&mut self, message: Try, now: Timestamp) -> Result<(), RequestError> {
        match &mut self.connection {
            Some(connection) => connection.send_try(message, now),
            None => Err(RequestError::Busy),
        }
    }
}

impl Agent {
    pub(super) fn dial(&mut self, address: String, now: Timestamp) {
        self.redial = None;
        if let Some(line) = self.next.take() {
            self.hang_up(line.link);
        }
        self.last_link += 1;
        let link = LinkId(self.last_link);
        self.commands.push_back(Command::Dial { link, address: address.clone() });
        self.events.push_back(ClientEvent::Connecting { address: address.clone() });
        let deadline = now + self.config.connect_timeout;
        self.next = Some(Line { link, address, deadline, connection: None, welcomed: None });
    }

    /// The stream is open. On TCP the magic goes out before what [`poll_transmit`](Self::poll_transmit) gives.
    pub fn handle_connected(&mut self, link: LinkId, now: Timestamp) {
        let Some(deadline) = self.next.as_ref().filter(|line| line.link == link).map(|line| line.deadline) else {
            return;
        };
        let connection = Connection::new(&self.login(deadline, now), now);
        if let Some(line) = &mut self.next {
            line.connection = Some(connection);
        }
    }

    fn login(&self, deadline: Timestamp, now: Timestamp) -> Login {
        Login {
            user: self.config.user.clone(),
            device: self.config.device.clone(),
            token: self.config.token.clone(),
            outbox: self.id,
            oldest_unsettled: self.outbox.oldest_unsettled(),
            ticket: self.ticket.clone(),
            gateways_tried: self.redirects,
            reason: self.connect_reason,
            heartbeat: self.config.heartbeat,
            timeout: deadline.since(now),
            max_body_bytes: self.config.max_body_bytes,
            hold_back: self.config.hold_back,
        }
    }

    /// Takes every whole frame out of `buffer`; what belongs to a link that was hung up is thrown away.
    pub fn handle_bytes(&mut self, link: LinkId, buffer: &mut BytesMut, now: Timestamp) {
        match self.connection_mut(link) {
            Some(connection) => connection.handle_bytes(buffer, now),
            None => buffer.clear(),
        }
        self.handle_events(link, now);
        self.pump(now);
        self.finish_if_due(now);
    }

    /// The stream was not opened, or has ended.
    pub fn handle_disconnect(&mut self, link: LinkId, reason: CloseReason, now: Timestamp) {
        match self.connection_mut(link) {
            Some(connection) => connection.handle_disconnect(reason),
            None => self.lost(link, reason, now),
        }
        self.handle_events(link, now);
        self.pump(now);
    }

    /// Moves what is to be sent on a link to the end of `out`; `false` if there was nothing.
    pub fn poll_transmit(&mut self, link: LinkId, out: &mut BytesMut, now: Timestamp) -> bool {
        let some = self.connection_mut(link).is_some_and(|connection| connection.poll_transmit(out));
        if some {
            // There is room again.
            self.pump(now);
        }
        some
    }

    pub(super) fn handle_line_timeouts(&mut self, now: Timestamp) {
        let links = [self.next.as_ref().map(|line| line.link), self.current.as_ref().map(|line| line.link)];
        for link in links.into_iter().flatten() {
            let overdue = self.next.as_ref().is_some_and(|line| line.link == link && line.deadline <= now);
            match self.connection_mut(link) {
                Some(connection) => connection.handle_timeout(now),
                None if overdue => self.lost(link, CloseReason::LoginTimedOut, now),
                None => {}
            }
            self.handle_events(link, now);
        }
    }

    fn connection_mut(&mut self, link: LinkId) -> Option<&mut Connection> {
        let line = self.current.as_mut().into_iter().chain(&mut self.next).find(|line| line.link == link)?;
        line.connection.as_mut()
    }

    fn handle_events(&mut self, link: LinkId, now: Timestamp) {
        while let Some(event) = self.connection_mut(link).and_then(Connection::poll_event) {
            match event {
                Event::Welcomed(session) => self.welcomed(&session, now),
                Event::Ended { id, result } => self.handle_ended(id, result, now),
                Event::Late { id, result } => self.handle_late(id, result),
                Event::SettledThrough(through) => self.handle_settled_through(through),
                Event::Ticket(ticket) => self.keep_ticket(ticket),
                Event::Spread(spread) => self.spread = spread,
                Event::Alternatives(alternatives) => self.gateways.learn(&alternatives),
                Event::Pushed(push) => self.handle_push(push),
                Event::MoveWanted(goaway) => self.plan_move(goaway, now),
                Event::Closed(reason) => self.lost(link, reason, now),
            }
        }
    }

    /// The newest connection takes the place of the one before.
    fn welcomed(&mut self, session: &Arc<Session>, now: Timestamp) {
        let Some(mut line) = self.next.take() else { return };
        line.welcomed = Some(now);
        let address = line.address.clone();
        if let Some(old) = self.current.replace(line) {
            self.commands.push_back(Command::HangUp { link: old.link });
        }
        self.redial = None;
        self.redirects = 0;
        self.gateways.succeeded();
        self.gateways.learn(&session.alternatives);
        self.spread = session.spread;
        self.keep_ticket(session.ticket.clone());
        let resent = self.outbox.connected(session);
        self.events.push_back(ClientEvent::Connected {
            address,
            gateway: session.gateway.clone(),
            epoch: session.epoch,
            resent,
            unsettled: self.outbox.len(),
        });
    }

    /// A stream has ended. What comes next follows from the newest one alone.
    fn lost(&mut self, link: LinkId, reason: CloseReason, now: Timestamp) {
        if self.current.as_ref().is_some_and(|line| line.link == link)
            && let Some(line) = self.current.take()
        {
            self.hang_up(link);
            self.outbox.disconnected();
            // A login on its way is the newest word. A stream that is only being opened goes on, unless all is over.
            let on_its_way = self.next.as_ref().map(|next| next.connection.is_some());
            if on_its_way.is_none() || (on_its_way == Some(false) && !reason.is_retryable()) {
                self.plan_after(&line, reason, now);
            }
        } else if self.next.as_ref().is_some_and(|line| line.link == link)
            && let Some(line) = self.next.take()
        {
            self.hang_up(link);
            let unanswered = !matches!(reason, CloseReason::Refused { .. } | CloseReason::Kicked(_));
            if line.connection.is_some() && unanswered {
                self.abandoned = Some(now);
            }
            self.plan_after(&line, reason, now);
        }
    }

    fn hang_up(&mut self, link: LinkId) {
        if !matches!(self.stage, Stage::Stopped(_)) {
            self.commands.push_back(Command::HangUp { link });
        }
    }
}
