//! Bounds and times that a gateway and its managers agree upon, each in one place.

use std::time::Duration;

/// Gateways that clients were sent to, in one report; a manager takes no more. Of more, a gateway leaves out those to which the
/// fewest went.
pub const MAX_SENT: usize = 256;
/// Over which time clients move that a gateway tells together. Managers wait for longer before they correct.
pub const MOVE_WITHIN: Duration = Duration::from_secs(1);
