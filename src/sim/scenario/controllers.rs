//! `controllers = ["capacity", { kind = "codel", target = "5ms" }]`

use toml::de::{DeTable, DeValue};

use super::read::checked;
use crate::{
    policy::{
        fault::Place,
        reader::{Mistake, Notes, Table},
    },
    sim::controllers::{self, Contender},
};

/// The contenders of a scenario, each with a label of its own.
pub(super) fn read(root: &mut Table<'_>, notes: &Notes) -> Vec<Contender> {
    let Some((place, value)) = root.take("controllers") else { return controllers::defaults() };
    let Some(items) = value.get_ref().as_array() else {
        notes.note(&place, Mistake::expected("a list of controllers", value.get_ref()));
        return Vec::new();
    };
    if items.is_empty() {
        notes.note(&place, Mistake::new("nothing is compared: name one controller or more"));
    }
    let mut contenders: Vec<Contender> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let place = Place { file: place.file, span: item.span(), path: format!("{}[{index}]", place.path) };
        let Some(contender) = one(item.get_ref(), root, &place, notes) else { continue };
        if contenders.iter().any(|other| other.label == contender.label) {
            let message = format!("there is a controller `{}` already", contender.label);
            notes.faults.borrow_mut().suggest(&place, message, Some("give each a `label`".to_owned()));
        }
        contenders.push(contender);
    }
    contenders
}

fn one(item: &DeValue<'_>, root: &Table<'_>, place: &Place, notes: &Notes) -> Option<Contender> {
    let nothing = DeTable::new();
    let (entries, kind) = match item {
        DeValue::String(name) => (&nothing, name.to_string()),
        DeValue::Table(entries) => {
            let kind = entries.get("kind").and_then(|kind| kind.get_ref().as_str());
            (entries, kind.unwrap_or_default().to_owned())
        }
        other => {
            notes.note(place, Mistake::expected("a controller's name or table", other));
            return None;
        }
    };
    let mut table = root.below("controllers", place.clone(), entries);
    let is_table = matches!(item, DeValue::Table(_));
    let (_, label) = (table.text("kind"), table.text("label"));
    if is_table {
        table.require(&["kind"]);
    }
    if !controllers::is_known(&kind) {
        if !kind.is_empty() {
            checked(notes, |check| check.unknown(place, "controller", &kind, controllers::names()));
        }
        return None;
    }
    let arrangement = controllers::read(&kind, table, entries)?;
    Some(Contender { label: label.map_or(kind, |at| at.value), arrangement })
}
