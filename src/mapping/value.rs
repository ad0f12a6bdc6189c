//! What is under a table's keys, with its columns found.

use std::sync::Arc;

use super::nested::Nested;
use super::shape::{Columns, Node, TextPart, ValueShape};
use super::way::Step;
use crate::json_text::json_string;
use crate::postgres::TableColumn;

/// What is under a key of a row. A column is its place among the table's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// JSON; whether members of objects that are null are left out.
    Json(Content, bool),
    /// A text.
    Text(Vec<TextPart<usize>>),
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name as JSON, quotes included.
    pub json_name: Vec<u8>,
    /// What it is.
    pub content: Content,
}

/// A value in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A column's JSON, and the way to it from the document's begin.
    Column(usize, Arc<[Step]>),
    /// A text.
    Text(Vec<TextPart<usize>>),
    /// What is written, as JSON.
    Constant(Vec<u8>),
    /// An object.
    Object(Vec<Member>),
    /// An array.
    Array(Vec<Self>),
    /// Rows of another table, and the way to them from the document's begin.
    Nested(Arc<Nested>, Arc<[Step]>),
}

impl Value {
    /// The value that a shape says, of a table of these columns.
    ///
    /// # Errors
    /// The name of a column that is not there.
    pub(super) fn new(
        shape: &ValueShape,
        omit_nulls: bool,
        columns: &[TableColumn],
    ) -> Result<Self, String> {
        let members = |names: &[String]| -> Result<Vec<Member>, String> {
            let member = |name: &String| {
                let column = place(columns, name)?;
                let json_name = json_string(name);
                let way = Arc::new([Step::Member(json_name.clone())]);
                Ok(Member { json_name, content: Content::Column(column, way) })
            };
            names.iter().map(member).collect()
        };
        let names = |stays: &dyn Fn(&String) -> bool| -> Vec<String> {
            columns.iter().map(|column| &column.name).filter(|name| stays(name)).cloned().collect()
        };
        let of_members = |members| Self::Json(Content::Object(members), omit_nulls);
        Ok(match shape {
            ValueShape::Columns(Columns::All) => of_members(members(&names(&|_| true))?),
            ValueShape::Columns(Columns::Only(only)) => of_members(members(only)?),
            ValueShape::Columns(Columns::Omit(omit)) => {
                omit.iter().try_for_each(|name| place(columns, name).map(drop))?;
                of_members(members(&names(&|name| !omit.contains(name)))?)
            }
            ValueShape::Text(parts) => Self::Text(text(parts, columns)?),
            ValueShape::Object(nodes) => of_members(object(nodes, &mut Vec::new(), columns)?),
            ValueShape::Scalar(node) => {
                Self::Json(content(node, &mut Vec::new(), columns)?, omit_nulls)
            }
        })
    }

    /// The members of the document; none if it is no object.
    pub(super) fn members(&self) -> &[Member] {
        match self {
            Self::Json(Content::Object(members), _) => members,
            Self::Json(..) | Self::Text(_) => &[],
        }
    }

    /// Adds a member to an object, as the last one.
    pub(super) fn push(&mut self, member: Member) {
        if let Self::Json(Content::Object(members), _) = self {
            members.push(member);
        }
    }

    /// The way to a column's JSON, from the document's begin; `None` if it is nowhere in it.
    pub(super) fn way_to(&self, column: usize) -> Option<&Arc<[Step]>> {
        match self {
            Self::Json(content, _) => content.way_to(column),
            Self::Text(_) => None,
        }
    }

    /// The columns whose text, not their JSON, is part of it.
    pub(super) fn text_columns(&self) -> Vec<usize> {
        let mut found = Vec::new();
        self.each_text(&mut |parts| found.extend(columns_of(parts)));
        found
    }

    /// The columns of texts that have several parts: an update that does not send one of them leaves
    /// open what the text is.
    pub(super) fn mixed_columns(&self) -> Vec<usize> {
        let mut found = Vec::new();
        self.each_text(&mut |parts| {
            if parts.len() > 1 {
                found.extend(columns_of(parts));
            }
        });
        found
    }

    /// Whether it is there, and can be written, whatever the row is.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Json(..) => self.mixed_columns().is_empty(),
        }
    }

    fn each_text<'v>(&'v self, sink: &mut dyn FnMut(&'v [TextPart<usize>])) {
        match self {
            Self::Text(parts) => sink(parts),
            Self::Json(content, _) => content.each_text(sink),
        }
    }
}

impl Content {
    fn way_to(&self, column: usize) -> Option<&Arc<[Step]>> {
        match self {
            Self::Column(found, way) => (*found == column).then_some(way),
            Self::Object(members) => {
                members.iter().find_map(|member| member.content.way_to(column))
            }
            Self::Array(elements) => elements.iter().find_map(|element| element.way_to(column)),
            Self::Text(_) | Self::Constant(_) | Self::Nested(..) => None,
        }
    }

    /// Gives `sink` each text in it.
    pub(crate) fn each_text<'c>(&'c self, sink: &mut dyn FnMut(&'c [TextPart<usize>])) {
        match self {
            Self::Text(parts) => sink(parts),
            Self::Object(members) => {
                members.iter().for_each(|member| member.content.each_text(sink));
            }
            Self::Array(elements) => elements.iter().for_each(|element| element.each_text(sink)),
            Self::Column(..) | Self::Constant(_) | Self::Nested(..) => {}
        }
    }
}

/// The columns in a text.
pub(super) fn columns_of(parts: &[TextPart<usize>]) -> impl Iterator<Item = usize> {
    parts.iter().filter_map(|part| match part {
        TextPart::Column(column) => Some(*column),
        TextPart::Literal(_) => None,
    })
}

fn object(
    nodes: &[(String, Node)],
    way: &mut Vec<Step>,
    columns: &[TableColumn],
) -> Result<Vec<Member>, String> {
    let member = |(name, node): &(String, Node)| {
        let json_name = json_string(name);
        way.push(Step::Member(json_name.clone()));
        let content = content(node, way, columns);
        way.pop();
        Ok(Member { json_name, content: content? })
    };
    nodes.iter().map(member).collect()
}

fn content(node: &Node, way: &mut Vec<Step>, columns: &[TableColumn]) -> Result<Content, String> {
    Ok(match node {
        Node::Column(name) => Content::Column(place(columns, name)?, Arc::from(&way[..])),
        Node::Text(parts) => Content::Text(text(parts, columns)?),
        Node::Constant(json) => Content::Constant(json.clone()),
        Node::Object(nodes) => Content::Object(object(nodes, way, columns)?),
        Node::Array(nodes) => {
            let element = |(position, node)| {
                way.push(Step::Element(position));
                let content = content(node, way, columns);
                way.pop();
                content
            };
            Content::Array(nodes.iter().enumerate().map(element).collect::<Result<_, _>>()?)
        }
    })
}

/// A text with its columns found.
///
/// # Errors
/// The name of a column that is not there.
pub(super) fn text(
    parts: &[TextPart],
    columns: &[TableColumn],
) -> Result<Vec<TextPart<usize>>, String> {
    let part = |part: &TextPart| {
        Ok(match part {
            TextPart::Literal(literal) => TextPart::Literal(literal.clone()),
            TextPart::Column(name) => TextPart::Column(place(columns, name)?),
        })
    };
    parts.iter().map(part).collect()
}

fn place(columns: &[TableColumn], name: &String) -> Result<usize, String> {
    columns.iter().position(|column| column.name == *name).ok_or_else(|| name.clone())
}
