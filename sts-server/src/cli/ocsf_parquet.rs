//! Events in OCSF as a Parquet file: a column for each of their members, in row groups that are small
//! enough to be held in memory.
//!
//! How members that may be absent or repeat become columns is Dremel's (S. Melnik et al., "Dremel: Interactive
//! Analysis of Web-Scale Datasets", 2010, section 4.2), with lists as Parquet's own rules have them
//! (LogicalTypes.md, "Lists").

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    sync::Arc,
};

use authority::audit::OccurredAt;
use parquet::{
    basic::Compression,
    column::writer::ColumnWriter,
    data_type::ByteArray,
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties, writer::SerializedFileWriter},
    schema::{parser::parse_message_type, types::Type},
};
use serde_json::Value;

/// Rows of a row group.
const ROWS_OF_A_GROUP: usize = 8 * 1_024;

/// The members that [`ocsf`](super::ocsf::ocsf) gives an event. Any may be absent.
const SCHEMA: &str = "message event {
  optional int64 activity_id;
  optional binary activity_name (STRING);
  optional int64 category_uid;
  optional binary category_name (STRING);
  optional int64 class_uid;
  optional binary class_name (STRING);
  optional int64 type_uid;
  optional binary type_name (STRING);
  optional int64 time;
  optional int64 time_dt (TIMESTAMP(MICROS, true));
  optional int64 severity_id;
  optional binary severity (STRING);
  optional int64 status_id;
  optional binary status (STRING);
  optional binary status_code (STRING);
  optional int64 action_id;
  optional binary action (STRING);
  optional int64 disposition_id;
  optional binary disposition (STRING);
  optional int64 count;
  optional binary message (STRING);
  optional group actor {
    optional binary app_uid (STRING);
    optional binary app_name (STRING);
    optional group user {
      optional binary uid (STRING);
      optional binary name (STRING);
      optional int64 type_id;
      optional binary type (STRING);
    }
    optional group session { optional binary uid (STRING); }
    optional group authorizations (LIST) { repeated group list { optional group element {
      optional binary decision (STRING);
      optional group policy { optional binary uid (STRING); }
    } } }
  }
  optional group api {
    optional binary operation (STRING);
    optional group request { optional binary uid (STRING); }
    optional group response { optional binary error (STRING); }
    optional group service { optional binary name (STRING); }
  }
  optional group src_endpoint { optional binary uid (STRING); }
  optional group dst_endpoint { optional binary uid (STRING); }
  optional group http_request {
    optional binary http_method (STRING);
    optional group url { optional binary path (STRING); }
    optional binary uid (STRING);
  }
  optional group resources (LIST) { repeated group list { optional group element {
    optional binary uid (STRING);
    optional binary type (STRING);
  } } }
  optional group policy {
    optional binary uid (STRING);
    optional binary version (STRING);
  }
  optional group metadata {
    optional binary version (STRING);
    optional group product {
      optional binary name (STRING);
      optional binary vendor_name (STRING);
      optional binary version (STRING);
    }
    optional group profiles (LIST) { repeated group list { optional binary element (STRING); } }
    optional binary uid (STRING);
    optional binary original_event_uid (STRING);
    optional binary correlation_uid (STRING);
    optional binary event_code (STRING);
    optional binary log_name (STRING);
    optional int64 logged_time;
    optional int64 sequence;
    optional binary tenant_uid (STRING);
  }
  optional group trace { optional binary uid (STRING); }
  optional binary raw_data (STRING);
  optional group unmapped {
    optional binary hash (STRING);
    optional binary evaluation_status (STRING);
    optional binary jti (STRING);
    optional binary sid (STRING);
    optional binary root_sid (STRING);
    optional binary use (STRING);
    optional group session_path (LIST) { repeated group list { optional binary element (STRING); } }
    optional group delegation_path (LIST) { repeated group list { optional binary element (STRING); } }
    optional group delegation_chain (LIST) { repeated group list { optional binary element (STRING); } }
    optional group requested_scopes (LIST) { repeated group list { optional binary element (STRING); } }
    optional int64 latency_us;
    optional binary traceparent (STRING);
  }
}";

/// A Parquet file that is being written.
pub(super) struct OcsfParquet<W: Write + Send> {
    members: Vec<Member>,
    columns: Vec<Column>,
    rows: usize,
    writer: SerializedFileWriter<W>,
}

/// A member of the schema; any may be absent.
struct Member {
    name: String,
    shape: Shape,
}

enum Shape {
    /// By the number of its column.
    Leaf(usize),
    Group(Vec<Member>),
    List(Box<Member>),
}

/// What goes into a column: its values, and for each place in it how much of its path there is, and at which
/// list it repeats.
#[derive(Default)]
struct Column {
    texts: Vec<ByteArray>,
    numbers: Vec<i64>,
    defined: Vec<i16>,
    repeated: Vec<i16>,
}

/// Where in a row something stands.
#[derive(Clone, Copy, Default)]
struct Place {
    /// How many members of its path there are so far.
    defined: i16,
    /// At which list it repeats; 0 where a row begins.
    repeated: i16,
    /// In how many lists it is.
    lists: i16,
}

impl<W: Write + Send> OcsfParquet<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of writing it.
    pub(super) fn begin(file: W) -> io::Result<Self> {
        let schema = parse_message_type(SCHEMA).map_err(io::Error::other)?;
        let mut columns = Vec::new();
        let members = members(&schema, &mut columns);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("caracal ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties));
        Ok(Self {
            members,
            columns,
            rows: 0,
            writer: writer.map_err(io::Error::other)?,
        })
    }

    /// Adds an event.
    ///
    /// # Errors
    /// Those of writing it, and a member that has no column, which would be lost in silence.
    pub(super) fn push(&mut self, event: &Value) -> io::Result<()> {
        put_members(&self.members, event, Place::default(), &mut self.columns)?;
        self.rows += 1;
        if self.rows == ROWS_OF_A_GROUP {
            self.write()?;
        }
        Ok(())
    }

    /// Ends the file with what is `said` of it, name and value, and gives it back.
    ///
    /// # Errors
    /// Those of writing it.
    pub(super) fn end(mut self, said: &[(&str, String)]) -> io::Result<W> {
        self.write()?;
        for (name, value) in said {
            let said = KeyValue::new((*name).to_owned(), value.clone());
            self.writer.append_key_value_metadata(said);
        }
        self.writer.into_inner().map_err(io::Error::other)
    }

    /// Writes the rows so far as a row group.
    fn write(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut write = || -> Result<(), ParquetError> {
            let mut group = self.writer.next_row_group()?;
            for column in &mut self.columns {
                if let Some(mut writer) = group.next_column()? {
                    column.write(writer.untyped())?;
                    writer.close()?;
                }
            }
            group.close().map(drop)
        };
        write().map_err(io::Error::other)?;
        self.rows = 0;
        Ok(())
    }
}

impl Column {
    /// Writes all that is in it, and empties it.
    fn write(&mut self, writer: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let (defined, repeated) = (Some(&*self.defined), Some(&*self.repeated));
        match writer {
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                writer.write_batch(&self.texts, defined, repeated)?;
            }
            ColumnWriter::Int64ColumnWriter(writer) => {
                writer.write_batch(&self.numbers, defined, repeated)?;
            }
            _ => return Err(ParquetError::General("a column of another type".to_owned())),
        }
        *self = Self::default();
        Ok(())
    }
}

/// The members of a group, with a new column for each leaf, in the order of the schema.
fn members(group: &Type, columns: &mut Vec<Column>) -> Vec<Member> {
    let fields = group.get_fields().iter();
    fields.map(|field| member(field, columns)).collect()
}

fn member(field: &Type, columns: &mut Vec<Column>) -> Member {
    let is_list = || field.get_basic_info().converted_type() == parquet::basic::ConvertedType::LIST;
    let shape = if field.is_primitive() {
        columns.push(Column::default());
        Shape::Leaf(columns.len() - 1)
    } else {
        let mut members = members(field, columns);
        match members.pop() {
            // `repeated group list { element }`: only the element has a counterpart in JSON.
            Some(Member {
                shape: Shape::Group(mut list),
                ..
            }) if is_list() && list.len() == 1 => match list.pop() {
                Some(element) => Shape::List(Box::new(element)),
                None => Shape::Group(list),
            },
            last => {
                members.extend(last);
                Shape::Group(members)
            }
        }
    };
    Member {
        name: field.name().to_owned(),
        shape,
    }
}

/// Puts the members of an object, or of nothing, into their columns.
fn put_members(
    members: &[Member],
    object: &Value,
    place: Place,
    columns: &mut [Column],
) -> io::Result<()> {
    let object = object.as_object().ok_or_else(|| odd("an object"))?;
    if let Some(name) = object
        .keys()
        .find(|name| members.iter().all(|member| member.name != **name))
    {
        return Err(io::Error::other(format!("{name} has no column")));
    }
    members
        .iter()
        .try_for_each(|member| member.put(object.get(&member.name), place, columns))
}

impl Member {
    fn put(&self, value: Option<&Value>, place: Place, columns: &mut [Column]) -> io::Result<()> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            self.leave_out(place, columns);
            return Ok(());
        };
        let inside = Place {
            defined: place.defined + 1,
            ..place
        };
        match &self.shape {
            Shape::Leaf(column) => {
                let column = columns.get_mut(*column).ok_or_else(|| odd("a column"))?;
                column.defined.push(inside.defined);
                column.repeated.push(inside.repeated);
                match value {
                    // The one time that is a text in JSON; texts have a column of texts.
                    Value::String(text) if self.name == "time_dt" => {
                        let time = OccurredAt::parse(text).ok_or_else(|| odd("a time"))?;
                        column
                            .numbers
                            .push(i64::try_from(time.0).map_err(io::Error::other)?);
                    }
                    Value::String(text) => column.texts.push(ByteArray::from(text.as_str())),
                    _ => column
                        .numbers
                        .push(value.as_i64().ok_or_else(|| odd("a number"))?),
                }
                Ok(())
            }
            Shape::Group(members) => put_members(members, value, inside, columns),
            Shape::List(element) => {
                let items = value.as_array().ok_or_else(|| odd("a list"))?;
                if items.is_empty() {
                    element.leave_out(inside, columns);
                }
                let item = |repeated| Place {
                    defined: inside.defined + 1,
                    repeated,
                    lists: inside.lists + 1,
                };
                let again =
                    std::iter::once(inside.repeated).chain(std::iter::repeat(inside.lists + 1));
                items.iter().zip(again).try_for_each(|(value, repeated)| {
                    element.put(Some(value), item(repeated), columns)
                })
            }
        }
    }

    /// It is absent, and so is all that is in it.
    fn leave_out(&self, place: Place, columns: &mut [Column]) {
        match &self.shape {
            Shape::Leaf(column) => {
                if let Some(column) = columns.get_mut(*column) {
                    column.defined.push(place.defined);
                    column.repeated.push(place.repeated);
                }
            }
            Shape::Group(members) => members.iter().for_each(|it| it.leave_out(place, columns)),
            Shape::List(element) => element.leave_out(place, columns),
        }
    }
}

fn odd(expected: &str) -> io::Error {
    io::Error::other(format!(
        "the event does not fit the columns: expected {expected}"
    ))
}
