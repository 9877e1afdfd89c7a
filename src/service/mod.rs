//! The SDK for logic services.
