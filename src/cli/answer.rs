//! What an operator's command answers: a table, sentences and remarks for a terminal, or all of it as JSON for programs.

use serde_json::{Map, Value};

use super::table::Table;
use crate::domain::printable::in_a_line;

/// Filled by a command and printed once it has ended well.
#[derive(Default)]
pub(super) struct Answer {
    lists: Map<String, Value>,
    facts: Map<String, Value>,
    text: String,
    messages: Vec<String>,
    remarks: Vec<String>,
}

impl Answer {
    /// A list under this name. Numbers in its cells are numbers in JSON.
    pub(super) fn table(&mut self, name: &str, table: &Table) {
        self.text += &table.to_string();
        self.lists.insert(name.to_owned(), table.to_json());
    }

    /// A sentence about what was done or found.
    pub(super) fn say(&mut self, sentence: impl Into<String>) {
        let sentence: String = sentence.into();
        let sentence = in_a_line(&sentence);
        self.text += &sentence;
        self.text.push('\n');
        self.messages.push(sentence);
    }

    /// Something that a program may ask for.
    pub(super) fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// What somebody should see to.
    pub(super) fn remarks(&mut self, remarks: impl IntoIterator<Item = String>) {
        let remarks = remarks.into_iter();
        self.remarks
            .extend(remarks.map(|remark| in_a_line(&remark)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.remarks.is_empty()
    }

    pub(super) fn print(self, json: bool) {
        if json {
            let mut document = self.lists;
            document.extend(self.facts);
            document.insert("messages".to_owned(), self.messages.into());
            document.insert("remarks".to_owned(), self.remarks.into());
            println!("{:#}", Value::Object(document));
            return;
        }
        print!("{}", self.text);
        if !self.remarks.is_empty() {
            println!();
        }
        for remark in &self.remarks {
            println!("! {remark}.");
        }
    }
}
