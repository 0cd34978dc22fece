//! The description of the service in WSDL 1.1, made from the table of its operations.

use quick_xml::escape::escape;

use super::soap::{NAMESPACE, OPERATIONS, Operation, Type};

const SERVICE: &str = "DesktopAppJax2Service";
const PORT: &str = "DesktopAppJax2Port";
const PORT_TYPE: &str = "DesktopApp";

const SCHEMA: &str = r#"
<xs:element name="ApiException" type="tns:ApiException"/>
<xs:complexType name="ApiException"><xs:sequence>
<xs:element name="details" type="xs:string" minOccurs="0"/>
<xs:element name="exceptionClass" type="xs:string" minOccurs="0"/>
</xs:sequence></xs:complexType>
<xs:complexType name="fileUploadInfo"><xs:sequence>
<xs:element name="fileId" type="xs:long"/>
<xs:element name="freeSpace" type="xs:long"/>
<xs:element name="maxFileSize" type="xs:long"/>
<xs:element name="message" type="xs:string" minOccurs="0" nillable="true"/>
<xs:element name="uploadUrl" type="xs:string" minOccurs="0" nillable="true"/>
</xs:sequence></xs:complexType>
<xs:complexType name="accountItem"><xs:sequence>
<xs:element name="date" type="xs:dateTime" minOccurs="0"/>
<xs:element name="directory" type="xs:boolean"/>
<xs:element name="downloadCount" type="xs:long"/>
<xs:element name="downloadLink" type="xs:string" minOccurs="0" nillable="true"/>
<xs:element name="empty" type="xs:boolean"/>
<xs:element name="id" type="xs:long"/>
<xs:element name="md5" type="xs:string" minOccurs="0" nillable="true"/>
<xs:element name="name" type="xs:string" minOccurs="0" nillable="true"/>
<xs:element name="parentId" type="xs:long"/>
<xs:element name="removed" type="xs:boolean"/>
<xs:element name="shared" type="xs:boolean"/>
<xs:element name="size" type="xs:long"/>
<xs:element name="version" type="xs:long"/>
</xs:sequence></xs:complexType>
<xs:complexType name="accountItemArray"><xs:sequence>
<xs:element name="item" type="tns:accountItem" minOccurs="0" maxOccurs="unbounded" nillable="true"/>
</xs:sequence></xs:complexType>
"#;

/// The document for a service at `address`.
pub(super) fn document(address: &str) -> String {
    let all = |each: fn(&Operation) -> String| OPERATIONS.iter().map(each).collect::<String>();
    let (messages, abstracts, bindings) = (all(messages), all(described), all(bound));
    let address = escape(address);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <definitions xmlns=\"http://schemas.xmlsoap.org/wsdl/\" xmlns:soap=\"http://schemas.xmlsoap.org/wsdl/soap/\" \
         xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" xmlns:tns=\"{NAMESPACE}\" targetNamespace=\"{NAMESPACE}\" name=\"{SERVICE}\">\n\
         <types><xs:schema targetNamespace=\"{NAMESPACE}\" elementFormDefault=\"unqualified\">{SCHEMA}</xs:schema></types>\n\
         <message name=\"ApiException\"><part name=\"fault\" element=\"tns:ApiException\"/></message>\n{messages}\
         <portType name=\"{PORT_TYPE}\">\n{abstracts}</portType>\n\
         <binding name=\"{PORT}Binding\" type=\"tns:{PORT_TYPE}\">\n\
         <soap:binding transport=\"http://schemas.xmlsoap.org/soap/http\" style=\"rpc\"/>\n{bindings}</binding>\n\
         <service name=\"{SERVICE}\"><port name=\"{PORT}\" binding=\"tns:{PORT}Binding\"><soap:address location=\"{address}\"/></port>\
         </service>\n</definitions>\n"
    )
}

fn messages(operation: &Operation) -> String {
    let Operation { name, args, returns, .. } = operation;
    let parts = args.iter().zip(0..).map(|(arg, at)| part(&format!("arg{at}"), *arg));
    let (asked, answered) = (parts.collect::<String>(), part("return", *returns));
    format!("<message name=\"{name}\">{asked}</message>\n<message name=\"{name}Response\">{answered}</message>\n")
}

fn part(name: &str, kind: Type) -> String {
    let kind = match kind {
        Type::Nothing => return String::new(),
        Type::Text => "xs:string",
        Type::Long => "xs:long",
        Type::Int => "xs:int",
        Type::Truth => "xs:boolean",
        Type::UploadInfo => "tns:fileUploadInfo",
        Type::Item => "tns:accountItem",
        Type::Items => "tns:accountItemArray",
    };
    format!("<part name=\"{name}\" type=\"{kind}\"/>")
}

fn described(operation: &Operation) -> String {
    let Operation { name, raises, .. } = operation;
    let fault = if *raises { "<fault name=\"ApiException\" message=\"tns:ApiException\"/>" } else { "" };
    format!(
        "<operation name=\"{name}\"><input message=\"tns:{name}\"/><output message=\"tns:{name}Response\"/>{fault}</operation>\n"
    )
}

fn bound(operation: &Operation) -> String {
    let Operation { name, raises, .. } = operation;
    let body = format!("<soap:body use=\"literal\" namespace=\"{NAMESPACE}\"/>");
    let fault =
        if *raises { "<fault name=\"ApiException\"><soap:fault name=\"ApiException\" use=\"literal\"/></fault>" } else { "" };
    format!(
        "<operation name=\"{name}\"><soap:operation soapAction=\"\"/><input>{body}</input><output>{body}</output>{fault}</operation>\n"
    )
}
