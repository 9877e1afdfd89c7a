// Generated from proto/client.proto: DAGOR_REGENERATE=1 cargo test --test web schema

/** Field number → [name, type, "repeated"?] */
export const MESSAGES = {
  Hello: { 1: ["versions", "uint32", "repeated"], 2: ["user", "string"], 3: ["device", "string"], 4: ["token", "bytes"], 5: ["ticket", "bytes"], 6: ["outbox", "fixed64"], 7: ["oldest_unsettled", "uint64"], 8: ["heartbeat_ms", "uint32"], 9: ["gateways_tried", "uint32"], 10: ["reason", "ConnectReason"], 11: ["reads_refusals", "bool"] },
  Business: { 1: ["code", "uint32"], 2: ["name", "string"], 3: ["timeout_ms", "uint32"], 4: ["ordering", "Ordering"] },
  ResolvedCut: { 1: ["business", "uint32"], 2: ["open_permille", "uint32"], 3: ["valid_ms", "uint32"] },
  Alternative: { 1: ["addresses", "string", "repeated"], 2: ["weight", "uint32"] },
  Limits: { 1: ["max_body_bytes", "uint32"], 2: ["max_in_flight", "uint32"], 3: ["keep_for_ms", "uint32"] },
  Welcome: { 1: ["version", "uint32"], 2: ["ticket", "bytes"], 3: ["gateway", "string"], 4: ["incarnation", "fixed64"], 5: ["connection_epoch", "uint64"], 6: ["heartbeat_ms", "uint32"], 7: ["tolerance_ms", "uint32"], 8: ["limits", "Limits"], 9: ["businesses", "Business", "repeated"], 10: ["cuts", "ResolvedCut", "repeated"], 11: ["alternatives", "Alternative", "repeated"], 12: ["spread_ms", "uint32"] },
  Refused: { 1: ["reason", "uint32"], 2: ["detail", "string"], 3: ["retry_after_ms", "uint32"], 4: ["alternatives", "Alternative", "repeated"], 5: ["cuts", "ResolvedCut", "repeated"] },
  Request: { 1: ["timeout_ms", "uint32"], 2: ["oldest_unsettled", "uint64"], 3: ["oldest_unsettled_of_business", "uint64"], 4: ["after", "uint64"], 15: ["payload", "bytes"] },
  Reply: { 1: ["outcome", "Outcome"], 2: ["reason", "uint32"], 3: ["detail", "string"], 4: ["retry_after_ms", "uint32"], 5: ["cuts", "ResolvedCut", "repeated"], 6: ["settled_through", "uint64"], 7: ["ticket", "bytes"], 15: ["payload", "bytes"] },
  Refusals: { 1: ["refused", "RefusedRequest", "repeated"], 2: ["cuts", "ResolvedCut", "repeated"] },
  RefusedRequest: { 1: ["message_id", "uint64"], 2: ["reason", "uint32"], 3: ["retry_after_ms", "uint32"] },
  Settled: { 1: ["settled_through", "uint64"] },
  Push: { 1: ["dedupe_key", "bytes"], 15: ["payload", "bytes"] },
  PushAck: { 1: ["push_id", "uint64"] },
  Ping: { 1: ["last_push_id", "uint64"], 2: ["next_interval_ms", "uint32"] },
  Pong: { 1: ["spread_ms", "uint32"], 2: ["cuts", "ResolvedCut", "repeated"], 3: ["alternatives", "Alternative", "repeated"] },
  Goaway: { 1: ["reason", "uint32"], 2: ["detail", "string"], 3: ["alternatives", "Alternative", "repeated"], 4: ["move_after_ms", "uint32"], 5: ["settled_through", "uint64"] },
  Kick: { 1: ["reason", "uint32"], 2: ["detail", "string"] },
};

/** The names of the values, from 0. */
export const ENUMS = {
  ConnectReason: ["CONNECT_REASON_NEW", "CONNECT_REASON_NETWORK", "CONNECT_REASON_RESTART", "CONNECT_REASON_REDIRECTED"],
  Ordering: ["ORDERING_NONE", "ORDERING_OUTBOX"],
  Outcome: ["OUTCOME_REPLIED", "OUTCOME_REFUSED", "OUTCOME_UNKNOWN"],
};
