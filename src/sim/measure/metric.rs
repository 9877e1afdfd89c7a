//! The list of all figures: name, what it says, and whether a business has it too.

use serde::{Serialize, Serializer};

macro_rules! metrics {
    ($($variant:ident $name:literal $what:literal,)*) => {
        /// A figure of a run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $what] $variant,)*
        }

        impl Metric {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// What scenario files and reports call it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it says, in a sentence.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$variant => $what,)*
                }
            }
        }
    };
}

metrics! {
    Offered "offered" "Tasks that arrived.",
    OfferedRate "offered_rate" "Tasks that arrived, per second.",
    Succeeded "succeeded" "Tasks answered in time, in one of their tries.",
    SuccessRate "success_rate" "Succeeded, of those offered.",
    Optimum "optimum" "The success rate of an ideal that knows the capacity and no priorities; of a business: that serves the more important first.",
    OfOptimum "of_optimum" "Success rate, of the optimum.",
    Goodput "goodput" "Work of the tasks that succeeded, of the work that could have been done: the less of what was offered and the capacity.",
    Refused "refused_share" "Tasks that failed with a refusal, of those offered.",
    Missed "missed_share" "Tasks that failed because an answer did not come in time, of those offered.",
    Failed "failed_share" "Tasks that failed, of those offered.",
    Tries "tries" "Tries that clients made.",
    TriesPerSuccess "tries_per_success" "Tries that clients made, for each task that succeeded.",
    LatencyP50 "latency_p50_ms" "Time from a task's arrival to the answer that made it succeed: the median.",
    LatencyP99 "latency_p99_ms" "The same at the 99th percentile.",
    LatencyP999 "latency_p999_ms" "The same at the 99.9th percentile.",
    QueuingMean "queuing_mean_ms" "Time of admitted calls in the queue, however they left it: the mean.",
    QueuingP50 "queuing_p50_ms" "The same: the median.",
    QueuingP99 "queuing_p99_ms" "The same at the 99th percentile.",
    QueuingP999 "queuing_p999_ms" "The same at the 99.9th percentile.",
    TopQueuingP99 "top_queuing_p99_ms" "Queuing time of the most important business alone at the 99th percentile.",
    Wasted "wasted" "Service time spent on tries that did not succeed, of all service time.",
    Utilization "utilization" "Service time begun, of the capacity.",
    Refusals "refusals" "Calls that a gate or a queue refused on arrival.",
    LocallyRefused "refused_by_callers" "Calls that their callers refused on what they knew, of all calls made.",
    Expired "expired" "Calls whose time passed in the queue, of those admitted.",
    Dropped "dropped" "Calls that were pushed out of the queue or refused at its end, of those admitted.",
    Inversions "inversions" "Calls refused by a gate that let a less important one pass in the same window.",
    QueueInversions "queue_inversions" "Calls that found a queue full that took one of a worse level in the same window.",
    Exceptions "exceptions" "Calls that a gate let pass although they were not below its cut: minimum shares and probes.",
    Convergence "convergence_s" "Seconds from a change into overload until goodput has settled; the worst of them.",
    Recovery "recovery_s" "Seconds from the end of overload until goodput has settled; the worst of them.",
    Reopening "reopening_s" "Seconds from the end of overload until 99 % of fresh tasks succeed; the worst of them.",
    Jain10 "jain_10s" "Jain's index of the success rates of users within 10 s.",
    Jain60 "jain_60s" "Jain's index of the success rates of users within 60 s.",
    JainRun "jain_run" "Jain's index of the success rates of users over the whole run.",
    CallsSpread "calls_spread" "Largest difference in success rate between tasks of different numbers of calls.",
    Unfinished "unfinished" "Tasks that had not ended when the run was given up; must be 0.",
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
