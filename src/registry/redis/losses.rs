//! Who tells a service of a lost home: one of those that live, and another one only if that one could not.

use std::time::Duration;

use super::{Fault, Inner, LISTED, incarnation, member};
use crate::{
    clock::{Timestamp, expiry_millis},
    registry::{Home, Loss, Teller},
};

/// How long it is remembered who has told of a loss: longer than the lost one is listed.
const LOSSES: Duration = LISTED.saturating_mul(2);

/// Who has not told a service of a loss by then may never: its instances are out of reach, or the policy there has changed.
const TOLD_WITHIN_LEASES: u32 = 5;

impl Inner {
    pub(super) async fn claim_loss(&self, loss: Loss<'_>, home: &Home, now: Timestamp) -> Result<Teller, Fault> {
        let own = member(home.incarnation);
        let teller = self.claim(loss, &own, "").await?;
        if teller == own {
            return Ok(Teller::Own);
        }
        let Some(other) = incarnation(&teller) else { return Ok(Teller::Nobody) };
        if self.home(other, now).await?.is_some() {
            return Ok(Teller::Other);
        }
        Ok(if self.claim(loss, &own, &teller).await? == own { Teller::Own } else { Teller::Other })
    }

    async fn claim(&self, loss: Loss<'_>, own: &str, dead: &str) -> Result<String, Fault> {
        let mut script = self.claim.key(self.losses_key(loss.lost));
        let patience = expiry_millis(self.settings.lease * TOLD_WITHIN_LEASES);
        script.arg(loss.service).arg(own).arg(dead).arg(patience).arg(expiry_millis(LOSSES));
        Ok(script.invoke_async(&mut self.link.clone()).await?)
    }

    pub(super) async fn settle_loss(&self, loss: Loss<'_>, home: &Home) -> Result<(), Fault> {
        let mut script = self.settle.key(self.losses_key(loss.lost));
        script.arg(loss.service).arg(member(home.incarnation));
        let _: u8 = script.invoke_async(&mut self.link.clone()).await?;
        Ok(())
    }
}
