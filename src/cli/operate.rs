//! `dagor cap`, `dagor drain` and `dagor kick`: operate a fleet through the API of its managers.

use std::{io::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{Error, ask::post};
use crate::manager::cut_text;

/// Which managers are asked, and how.
#[derive(Debug, clap::Args)]
pub struct Managers {
    /// A manager's admin address (repeatable: the next one is asked if one does not answer).
    #[arg(long = "manager", default_value = "127.0.0.1:7501", value_name = "ADDR")]
    managers: Vec<String>,
    /// The managers' token.
    #[arg(long, env = "DAGOR_TOKEN", hide_env_values = true, default_value = "", value_name = "TOKEN")]
    token: String,
    /// Write the manager's answer to standard output.
    #[arg(long)]
    json: bool,
}

/// Cap what passes to a service everywhere, for a while.
///
/// Gateways go on to refuse on their own what does not fit; a cap only ever makes them stricter. It takes effect within a
/// second and lapses by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor cap main 20 --for 5m        business priorities 0 to 20 pass, whatever the user
  dagor cap main 20/64 --for 5m     of priority 20 only user levels 0 to 64
  dagor cap main closed --for 30s   nothing passes: the service is being repaired
  dagor cap main open               take the cap back
  dagor cap login 0/31 --for 1m     only clients that resume may log in

The token is that of the managers' `token_file`: --token TOKEN or DAGOR_TOKEN.")]
pub struct CapArgs {
    /// The service's name in the policy, or `login`.
    service: String,
    /// The least important that still passes: PRIORITY, PRIORITY/USER-LEVEL, `closed`, or `open` for no cap.
    #[arg(value_parser = check_cut)]
    value: String,
    /// When it lapses.
    #[arg(long = "for", default_value = "5m", value_name = "TIME", value_parser = humantime::parse_duration)]
    lasts: Duration,
    #[command(flatten)]
    managers: Managers,
}

/// Empty a gateway: it takes no more logins, and its clients move to others.
///
/// Each client is told where it may go and when, at a bounded rate, and is served until then. It ends when the gateway is
/// started again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor drain gateway-3                      100 clients per second move
  dagor drain gateway-3 --per-second 2000    as many as the others can take
  dagor drain gateway-3 --undo               it may take clients again

The token is that of the managers' `token_file`: --token TOKEN or DAGOR_TOKEN.")]
pub struct DrainArgs {
    /// The gateway's name.
    gateway: String,
    /// Clients that are told to move per second.
    #[arg(long, default_value_t = 100.0, value_name = "N")]
    per_second: f64,
    /// Do not drain it any more.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    managers: Managers,
}

/// Put a user out, wherever it is connected. Its client does not come back by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dagor kick ann           all of ann's devices
  dagor kick ann phone     one of them

The token is that of the managers' `token_file`: --token TOKEN or DAGOR_TOKEN.")]
pub struct KickArgs {
    /// The user.
    user: String,
    /// Which of the user's devices [default: all].
    device: Option<String>,
    #[command(flatten)]
    managers: Managers,
}

fn check_cut(text: &str) -> Result<String, String> {
    cut_text::parse(text).map(|_| text.to_owned())
}

/// Runs `dagor cap`.
///
/// # Errors
///
/// If no manager does it.
pub fn cap(args: &CapArgs) -> Result<(), Error> {
    let lasts = humantime::format_duration(args.lasts).to_string();
    let body = json!({ "service": args.service, "cut": args.value, "for": lasts });
    let said = match args.value.as_str() {
        "open" => format!("{} is not capped any more", args.service),
        value => format!("{} is capped at {value} for {lasts}", args.service),
    };
    args.managers.tell("/v1/caps", &body, &said)
}

/// Runs `dagor drain`.
///
/// # Errors
///
/// If no manager does it.
pub fn drain(args: &DrainArgs) -> Result<(), Error> {
    let DrainArgs { gateway, per_second, undo, managers } = args;
    let (body, said) = if *undo {
        (json!({ "gateway": gateway, "undo": true }), format!("{gateway} is not drained any more"))
    } else {
        let said = format!("{gateway} takes no more logins; {per_second} clients per second move");
        (json!({ "gateway": gateway, "per_second": per_second }), said)
    };
    managers.tell("/v1/drain", &body, &said)
}

/// Runs `dagor kick`.
///
/// # Errors
///
/// If no manager does it.
pub fn kick(args: &KickArgs) -> Result<(), Error> {
    let device = args.device.clone().unwrap_or_default();
    let whom = if device.is_empty() { args.user.clone() } else { format!("{}'s {device}", args.user) };
    let body = json!({ "user": args.user, "device": device });
    args.managers.tell("/v1/kick", &body, &format!("{whom} is put out everywhere"))
}

impl Managers {
    /// Asks one manager after the other until one answers, and says what became of it.
    fn tell(&self, path: &str, body: &Value, said: &str) -> Result<(), Error> {
        let mut away = Vec::new();
        for manager in &self.managers {
            match post(manager, path, &self.token, &body.to_string()) {
                Ok((200, answer)) => {
                    anstream::eprintln!("{said}");
                    return if self.json {
                        writeln!(anstream::stdout(), "{answer}").map_err(Error::failed)
                    } else {
                        Ok(())
                    };
                }
                Ok((status, answer)) => return Err(refused(status, &answer)),
                Err(error) => away.push(format!("{manager}: {error}")),
            }
        }
        Err(Error::failed(format_args!("no manager answers: {}", away.join("; ")))
            .hint("start one with `dagor manager` or `dagor serve`, or name its admin address with --manager ADDR"))
    }
}

/// What a manager says when it does not do it.
fn refused(status: u16, answer: &str) -> Error {
    let said = serde_json::from_str::<Value>(answer).ok();
    let why = said.as_ref().and_then(|said| said.get("error")?.as_str()).unwrap_or(answer.trim());
    match status {
        401 => Error::usage(why).hint("give the managers' token with --token TOKEN or DAGOR_TOKEN"),
        400 | 404 | 422 => Error::usage(why),
        _ => Error::failed(why),
    }
}
