//! What PostgreSQL's `to_json` makes of a type.

/// How the text of a value becomes JSON, by its type's base type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Printed as it is if it is a JSON number; `NaN` and the infinities are strings.
    Number,
    /// `t` is `true`, anything else `false`.
    Boolean,
    /// Printed as it is.
    Json,
    /// ISO 8601 with `T`.
    Timestamp,
    /// As `Timestamp`, and the zone, always UTC, with minutes.
    TimestampWithZone,
    /// An array of elements.
    Array {
        /// The kind of its elements.
        element: Box<Kind>,
        /// What stands between them in the array's text (`pg_type.typdelim`).
        delimiter: u8,
    },
    /// `int2vector` and `oidvector`: an array whose text is its elements, of the kind in the box, with
    /// spaces between.
    Vector(Box<Kind>),
    /// An object with a member an attribute: the name as JSON, quotes included, and the kind.
    Composite(Vec<(Vec<u8>, Kind)>),
    /// A type with a cast to `json` of its own, which only the server can apply.
    Cast {
        /// The type, never a domain, by its OID.
        type_oid: u32,
    },
    /// A string.
    Text,
}

impl Kind {
    /// Whether a value of this kind needs a cast of the server somewhere.
    #[must_use]
    pub fn needs_cast(&self) -> bool {
        match self {
            Self::Cast { .. } => true,
            Self::Array { element, .. } => element.needs_cast(),
            Self::Composite(attributes) => attributes.iter().any(|(_, kind)| kind.needs_cast()),
            Self::Number
            | Self::Boolean
            | Self::Json
            | Self::Timestamp
            | Self::TimestampWithZone
            | Self::Vector(_)
            | Self::Text => false,
        }
    }

    /// The kind of a built-in scalar type or vector, by its OID (`pg_type.dat`, fixed for ever);
    /// `None` if only the catalog can tell.
    #[must_use]
    pub fn of_builtin(type_oid: u32) -> Option<Self> {
        Some(match type_oid {
            16 => Self::Boolean,
            // int8, int2, int4, float4, float8, numeric
            20 | 21 | 23 | 700 | 701 | 1700 => Self::Number,
            // int2vector, and oidvector, whose elements are no numbers to `to_json`
            22 => Self::Vector(Box::new(Self::Number)),
            30 => Self::Vector(Box::new(Self::Text)),
            // json, jsonb
            114 | 3802 => Self::Json,
            1114 => Self::Timestamp,
            1184 => Self::TimestampWithZone,
            // bytea, char, name, text, bpchar, varchar, date, uuid
            17 | 18 | 19 | 25 | 1042 | 1043 | 1082 | 2950 => Self::Text,
            _ => return None,
        })
    }
}
