//! The decision core.
pub mod level;
pub mod refusal;
pub mod settings;
pub use level::{Cut, Level, Value};
pub use refusal::{Cause, Refusal};
pub use settings::{ControllerKind, GateMode, GateSettings};
