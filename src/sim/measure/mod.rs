//! What a run is judged by. Every figure is of the tasks that arrived after the warm-up; `docs/simulator.md` defines each.

mod books;
mod fairness;
mod latency;
mod metric;
mod optimum;
mod recorder;
mod series;
mod settle;
mod window;

pub use metric::Metric;
pub use recorder::{ByCalls, EndedTask, Fate, Left, Recorder, Run};
pub use series::Series;
pub use settle::{Settled, Towards};
pub use window::{Counts, Window};

use std::collections::BTreeMap;

/// The figures of a run or of one of its businesses. What makes no sense there is absent.
pub type Figures = BTreeMap<Metric, f64>;
