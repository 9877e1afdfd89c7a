//! A gateway that holds client connections and, when there is more to do than can be done in time, refuses the least
//! important requests first.
//!
//! ```text
//! per connection   socket ─▶ limit ─▶ greet ─▶ rate ─▶ tag ─▶ shed ─▶ login ─▶ route ─▶ heartbeat ─▶ session
//!                                                                                              │
//! per request      logic service ◀═ link ◀─ queue ◀─ instance ◀─ shed ◀─ tag ◀─────────────────┘
//! ```
//!
//! **tag** gives a request a value, its importance. **shed** compares the value with one number, the cut. A controller
//! moves the cut once per window, by how long requests waited. All the rest serves these three sentences.
//!
//! Reading order: [`admission`] decides; [`request`] and [`layer`] put the decision into tower stacks; `gateway::stack`
//! has both stacks on one page, `gateway::worker` the thread that they run on; `wire` is what goes over sockets;
//! `service` and `client` are the two ends. `docs/architecture.md` draws the whole.
//!
//! | feature | modules | what for |
//! |---|---|---|
//! | `layers` | [`id`], [`clock`], [`mac`], [`admission`], [`request`], [`layer`] | shedding in any tower stack, without a runtime |
//! | `http` | `layer::http` | the same for HTTP and gRPC, servers and clients |
//! | `wire` | `wire`, `pb` | the frames between clients and gateways |
//! | `client` | `client` | apps |
//! | `service` | `registry`, `service` | logic services, and the echo service made with it |
//! | `redis` | `registry::redis`, `service::redis` | routes of a fleet and windows of several instances in Redis |
//! | `gateway` | `histogram`, `web`, `trace`, `ticket`, `policy`, `manager`, `gateway`, `admin` | the gateway and its managers as a library |
//! | `cli` | `sim`, `load`, `cli` | the program `dagor` |

#[cfg(feature = "gateway")]
pub mod admin;
pub mod admission;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "gateway")]
pub mod histogram;
pub mod id;
pub mod layer;
#[cfg(feature = "cli")]
pub mod load;
pub mod mac;
#[cfg(feature = "gateway")]
pub mod manager;
#[cfg(any(feature = "wire", feature = "service"))]
pub mod pb;
#[cfg(feature = "gateway")]
pub mod policy;
#[cfg(feature = "service")]
pub mod registry;
pub mod request;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "cli")]
pub mod sim;
#[cfg(feature = "gateway")]
pub mod ticket;
#[cfg(feature = "gateway")]
pub mod trace;
#[cfg(feature = "gateway")]
pub mod web;
#[cfg(feature = "wire")]
pub mod wire;

/// Compiles the examples of the page about the layers.
#[cfg(all(doctest, feature = "http", feature = "service"))]
#[doc = include_str!("../docs/layers.md")]
struct LayersPage;

/// Compiles the examples of the page about the client SDK.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../docs/client.md")]
struct ClientPage;

/// Compiles the examples of the front page.
#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../README.md")]
struct Readme;
