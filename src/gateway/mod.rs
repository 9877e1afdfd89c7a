//! Listeners, transports, the two stacks, roster, dispatch, push.
pub mod link;
