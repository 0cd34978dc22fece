//! SOAP 1.1 as 4shared speaks it: rpc/literal, read strictly or by local names alone, and written.

use quick_xml::NsReader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;

use super::super::faults::Endpoint;
use super::super::reply::Reply;
use super::NullStyle;

/// The namespace of the operations.
pub(super) const NAMESPACE: &str = "http://api.soap.shared.pmstation.com/";
/// The namespace of the envelope.
pub(super) const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const DEPTH_MAX: usize = 32;

/// What an argument or a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Long,
    Int,
    Truth,
    Nothing,
    UploadInfo,
    Item,
    Items,
}

/// One operation of the service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) args: &'static [Type],
    pub(super) returns: Type,
    /// Whether it may raise an `ApiException`.
    pub(super) raises: bool,
    /// What it is to the fault script.
    pub(super) endpoint: Endpoint,
}

impl Operation {
    const fn new(name: &'static str, args: &'static [Type], returns: Type, endpoint: Endpoint) -> Operation {
        Operation { name, args, returns, raises: true, endpoint }
    }

    const fn quiet(self) -> Operation {
        Operation { raises: false, ..self }
    }

    /// Whether the first two arguments are login and password.
    pub(super) fn needs_login(&self) -> bool {
        matches!(self.args, [Type::Text, Type::Text, ..])
    }
}

const LOGIN: &[Type] = &[Type::Text, Type::Text];
const LOGIN_ID: &[Type] = &[Type::Text, Type::Text, Type::Long];
const LOGIN_ID_TEXT: &[Type] = &[Type::Text, Type::Text, Type::Long, Type::Text];
const LOGIN_PAGE: &[Type] = &[Type::Text, Type::Text, Type::Long, Type::Int, Type::Int];
const LOGIN_FILE: &[Type] = &[Type::Text, Type::Text, Type::Long, Type::Text, Type::Long];

/// All operations.
pub(super) const OPERATIONS: [Operation; 22] = [
    Operation::new("login", LOGIN, Type::Text, Endpoint::Open).quiet(),
    Operation::new("isExistsLoginPassword", LOGIN, Type::Truth, Endpoint::Open),
    Operation::new("isAccountActive", LOGIN, Type::Truth, Endpoint::Open),
    Operation::new("isAccountBanned", LOGIN, Type::Truth, Endpoint::Open),
    Operation::new("hasRightUpload", &[], Type::Truth, Endpoint::Open).quiet(),
    Operation::new("getFreeSpace", LOGIN, Type::Long, Endpoint::Open),
    Operation::new("getMaxFileSize", LOGIN, Type::Long, Endpoint::Open),
    Operation::new("createUploadSessionKey", LOGIN_ID, Type::Text, Endpoint::Address),
    Operation::new("getNewFileDataCenter", LOGIN, Type::Long, Endpoint::Address),
    Operation::new("getUploadFormUrl", &[Type::Int, Type::Text], Type::Text, Endpoint::Address).quiet(),
    Operation::new("uploadStartFile", LOGIN_FILE, Type::Long, Endpoint::Open),
    Operation::new("uploadFinishFile", LOGIN_ID_TEXT, Type::Text, Endpoint::Finish),
    Operation::new("uploadStartedFileExists", LOGIN_ID, Type::Truth, Endpoint::Probe),
    Operation::new("uploadCancelFile", LOGIN_ID, Type::Nothing, Endpoint::Abandon),
    Operation::new("uploadStartFileUpdate", LOGIN_FILE, Type::Long, Endpoint::Open),
    Operation::new("simpleUploadStart", LOGIN_FILE, Type::UploadInfo, Endpoint::Open),
    Operation::new("getFileInfo", LOGIN_ID, Type::Item, Endpoint::Probe),
    Operation::new("getFileDownloadLink", LOGIN_ID, Type::Text, Endpoint::Link),
    Operation::new("getItems", LOGIN_ID, Type::Items, Endpoint::Open),
    Operation::new("getItemsCount", LOGIN_ID, Type::Long, Endpoint::Open),
    Operation::new("getItemsPartial", LOGIN_PAGE, Type::Items, Endpoint::Open),
    Operation::new("createNewFolder", LOGIN_ID_TEXT, Type::Long, Endpoint::Open),
];

/// A call that was understood.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) operation: &'static Operation,
    args: Vec<Value>,
}

impl Call {
    /// The text at this place.
    pub(super) fn text(&self, at: usize) -> &str {
        match self.args.get(at) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// The number at this place.
    pub(super) fn number(&self, at: usize) -> i64 {
        match self.args.get(at) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }
}

/// What is said in an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// No element at all.
    Nothing,
    /// The null of Java, which the style of the host writes down.
    Null,
    Text(String),
    Number(i64),
    Truth(bool),
    Fields(Vec<(&'static str, Value)>),
    List(Vec<Value>),
}

impl Value {
    /// A text; null when there is none.
    pub(super) fn text_or_null(text: Option<String>) -> Value {
        text.map_or(Value::Null, Value::Text)
    }
}

/// A SOAP fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    code: &'static str,
    /// What is wrong.
    pub(super) text: String,
    /// The class of the exception, when the host's own code raised it.
    class: Option<&'static str>,
}

impl Fault {
    /// The request itself is wrong.
    pub(super) fn client(text: impl Into<String>) -> Fault {
        Fault { code: "S:Client", text: text.into(), class: None }
    }

    /// An `ApiException`.
    pub(super) fn raised(text: impl Into<String>) -> Fault {
        Fault { code: "S:Server", text: text.into(), class: Some("com.pmstation.shared.soap.api.ApiException") }
    }

    /// The answer that carries it, with or without its detail.
    pub(super) fn reply(&self, with_detail: bool) -> Reply {
        let text = escape(self.text.as_str());
        let detail = self.class.filter(|_| with_detail).map_or(String::new(), |class| {
            format!(
                "<detail><ns2:ApiException xmlns:ns2=\"{NAMESPACE}\"><details>{text}</details>\
                 <exceptionClass>{class}</exceptionClass></ns2:ApiException></detail>"
            )
        });
        let code = self.code;
        xml(500, &format!("<S:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring>{detail}</S:Fault>"))
    }
}

/// The answer to a call that succeeded.
pub(super) fn reply(operation: &Operation, value: &Value, nulls: NullStyle) -> Reply {
    let mut body = format!("<ns2:{}Response xmlns:ns2=\"{NAMESPACE}\">", operation.name);
    write(&mut body, "return", value, nulls);
    body.push_str(&format!("</ns2:{}Response>", operation.name));
    xml(200, &body)
}

fn xml(status: u16, body: &str) -> Reply {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><S:Envelope xmlns:S=\"{ENVELOPE}\"><S:Body>{body}</S:Body></S:Envelope>"
    );
    Reply::bytes(status, text).header("content-type", "text/xml; charset=utf-8")
}

fn write(out: &mut String, name: &str, value: &Value, nulls: NullStyle) {
    let mut put = |text: &str| out.push_str(&format!("<{name}>{text}</{name}>"));
    match (value, nulls) {
        (Value::Nothing, _) | (Value::Null, NullStyle::Absent) => {}
        (Value::Null, NullStyle::Empty) => put(""),
        (Value::Null, NullStyle::Text) => put("null"),
        (Value::Null, NullStyle::Nil) => {
            out.push_str(&format!("<{name} xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:nil=\"true\"/>"));
        }
        (Value::Text(text), _) => put(&escape(text.as_str())),
        (Value::Number(number), _) => put(&number.to_string()),
        (Value::Truth(truth), _) => put(&truth.to_string()),
        (Value::Fields(fields), _) => put(&inner(fields.iter().map(|(name, value)| (*name, value)), nulls)),
        (Value::List(items), _) => put(&inner(items.iter().map(|item| ("item", item)), nulls)),
    }
}

fn inner<'v>(fields: impl Iterator<Item = (&'static str, &'v Value)>, nulls: NullStyle) -> String {
    let mut text = String::new();
    fields.for_each(|(name, value)| write(&mut text, name, value, nulls));
    text
}

/// Reads an envelope. Strict reading checks namespaces, and the names, the count and the order of the arguments.
///
/// # Errors
/// The fault to answer with.
pub(super) fn read(bytes: &[u8], strict: bool) -> Result<Call, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::client("the request is not UTF-8"))?;
    let envelope = parse(text.strip_prefix('\u{feff}').unwrap_or(text)).map_err(Fault::client)?;
    let body = body_of(&envelope, strict)?;
    let [called] = body.children.as_slice() else {
        return Err(Fault::client("the body must hold one element, the operation"));
    };
    let operation = operation_of(called, strict)?;
    let args = if strict { args_in_order(called, operation)? } else { args_by_name(called, operation)? };
    let typed = args.into_iter().zip(operation.args).map(|(arg, kind)| typed(arg, *kind));
    Ok(Call { operation, args: typed.collect::<Result<_, _>>()? })
}

fn body_of(envelope: &Element, strict: bool) -> Result<&Element, Fault> {
    let is = |element: &Element, name: &str| element.name == name && (!strict || element.namespace.as_deref() == Some(ENVELOPE));
    if !is(envelope, "Envelope") {
        return Err(Fault { code: "S:VersionMismatch", ..Fault::client("the root is not an Envelope of SOAP 1.1") });
    }
    match envelope.children.as_slice() {
        [body] if is(body, "Body") => Ok(body),
        [header, body] if is(header, "Header") && is(body, "Body") => Ok(body),
        _ => Err(Fault::client("the Envelope must hold one Body, after at most one Header")),
    }
}

fn operation_of(called: &Element, strict: bool) -> Result<&'static Operation, Fault> {
    let name = format!("{{{}}}{}", called.namespace.as_deref().unwrap_or_default(), called.name);
    let known = OPERATIONS.iter().find(|operation| operation.name == called.name);
    known
        .filter(|_| !strict || called.namespace.as_deref() == Some(NAMESPACE))
        .ok_or_else(|| Fault::client(format!("Cannot find dispatch method for {name}")))
}

fn args_in_order<'e>(called: &'e Element, operation: &Operation) -> Result<Vec<&'e Element>, Fault> {
    let Operation { name, args, .. } = operation;
    if called.children.len() != args.len() {
        return Err(Fault::client(format!("{name} takes {} arguments, not {}", args.len(), called.children.len())));
    }
    if !called.text.trim().is_empty() {
        return Err(Fault::client(format!("there is text between the arguments of {name}")));
    }
    for (at, arg) in called.children.iter().enumerate() {
        if arg.name != format!("arg{at}") {
            return Err(Fault::client(format!("argument {at} of {name} is called `{}` instead of `arg{at}`", arg.name)));
        }
        if arg.namespace.is_some() {
            return Err(Fault::client(format!("argument {at} of {name} must have no namespace")));
        }
    }
    Ok(called.children.iter().collect())
}

fn args_by_name<'e>(called: &'e Element, operation: &Operation) -> Result<Vec<&'e Element>, Fault> {
    let named = |at: usize| called.children.iter().find(|arg| arg.name == format!("arg{at}"));
    let missing = |at: usize| Fault::client(format!("{} needs arg{at}", operation.name));
    (0..operation.args.len()).map(|at| named(at).ok_or_else(|| missing(at))).collect()
}

fn typed(arg: &Element, kind: Type) -> Result<Value, Fault> {
    if !arg.children.is_empty() {
        return Err(Fault::client(format!("{} holds elements instead of a value", arg.name)));
    }
    let wrong = || Fault::client(format!("{} is not a number of its type: `{}`", arg.name, arg.text));
    match kind {
        Type::Long => arg.text.trim().parse().map(Value::Number).map_err(|_| wrong()),
        Type::Int => arg.text.trim().parse::<i32>().map(|number| Value::Number(number.into())).map_err(|_| wrong()),
        _ => Ok(Value::Text(arg.text.clone())),
    }
}

/// One element, with what is in it.
#[derive(Debug, Default)]
struct Element {
    namespace: Option<String>,
    name: String,
    text: String,
    children: Vec<Element>,
}

fn parse(text: &str) -> Result<Element, String> {
    let mut reader = NsReader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|error| format!("the XML cannot be read: {error}"))?;
        match event {
            Event::Start(start) => {
                if root.is_some() || open.len() >= DEPTH_MAX {
                    return Err("the XML has more than one root, or is too deep".into());
                }
                let namespace = bound(&namespace)?;
                open.push(Element { namespace, name: start.local_name().into_inner().to_owned(), ..Element::default() });
            }
            Event::End(_) => {
                let done = open.pop().ok_or("an element ends that has not begun")?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => root = Some(done),
                }
            }
            Event::Text(text) => add_text(&mut open, &text.xml10_content())?,
            Event::CData(text) => add_text(&mut open, &text.xml10_content())?,
            Event::GeneralRef(name) => {
                let character = name.resolve_char_ref().map_err(|error| format!("the XML cannot be read: {error}"))?;
                let text = character.map(String::from).or_else(|| resolve_predefined_entity(&name).map(str::to_owned));
                add_text(&mut open, &text.ok_or_else(|| format!("the entity `{}` is unknown", name.xml10_content()))?)?;
            }
            Event::DocType(_) | Event::PI(_) => return Err("SOAP has neither a DTD nor processing instructions".into()),
            Event::Eof if open.is_empty() => return root.ok_or_else(|| "there is no XML".into()),
            Event::Eof => return Err("the XML ends too early".into()),
            Event::Decl(_) | Event::Comment(_) | Event::Empty(_) => {}
        }
    }
}

fn bound(namespace: &ResolveResult<'_>) -> Result<Option<String>, String> {
    match namespace {
        ResolveResult::Bound(namespace) => Ok(Some(namespace.into_inner().to_owned()).filter(|name| !name.is_empty())),
        ResolveResult::Unbound => Ok(None),
        ResolveResult::Unknown(prefix) => Err(format!("the prefix `{prefix}` is bound to nothing")),
    }
}

fn add_text(open: &mut [Element], text: &str) -> Result<(), String> {
    // What XML 1.0 cannot carry at all, by whatever name it is written.
    let forbidden = |c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r') || matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.contains(forbidden) {
        return Err("the XML holds a character that XML 1.0 forbids".into());
    }
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("there is text outside the root".into()),
    }
    Ok(())
}
