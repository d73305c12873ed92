//! What is expected, written down by hand: it says what the roles are meant to be, not what the code does.

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Operator,
    Admin,
    Auditor,
    ProjectAdmin,
    ProjectMember,
    WithoutRoles,
    Anonymous,
    GatewayAgent,
    RelayAgent,
}

impl Role {
    pub(crate) const ALL: [Self; 9] = [
        Self::Operator,
        Self::Admin,
        Self::Auditor,
        Self::ProjectAdmin,
        Self::ProjectMember,
        Self::WithoutRoles,
        Self::Anonymous,
        Self::GatewayAgent,
        Self::RelayAgent,
    ];

    /// Whether it has no role but in projects.
    pub(crate) fn is_of_project(self) -> bool {
        matches!(self, Self::ProjectAdmin | Self::ProjectMember)
    }
}

/// Operations whose answer here is let through but not all is well: their bodies are beside this test's point.
pub(crate) const NOT_EXACT: &[&str] = &[
    "enrol",
    "createAccessToken",
    "beginGatewaySession",
    "endGatewaySession",
    "issueGatewayCertificate",
    "gatewayHeartbeat",
    "beginRelaySession",
    "endRelaySession",
    "issueRelayCertificate",
    "relayHeartbeat",
    "rotateRelaySecret",
    "createForwarding",
    "setConnectorAddresses",
    "revokePlatformInstance",
];

/// Operations that need a server, which does not exist here: they fail, but not for who asks.
pub(crate) const ON_SERVER: &[&str] = &[
    "testDatabase",
    "rotateDatabase",
    "testSecret",
    "prepareSecret",
    "testRotation",
    "rotate",
    "getCredentials",
    "createLease",
    "renewLease",
    "abandonLease",
    "scanDatabase",
    "dropOrphan",
];

/// Who may, in its own organisation.
pub(crate) fn allowed(operation: &str) -> Option<Vec<Role>> {
    use Role::*;
    let roles: &[Role] = match operation {
        "getOpenApi" | "getCa" | "enrol" | "getNonce" | "createAccessToken" => &Role::ALL,
        "whoami" => &[Operator, Admin, Auditor, ProjectAdmin, ProjectMember, WithoutRoles],
        "listOrganisations" | "createOrganisation" | "getOrganisation" => &[Operator],
        "listPlatformInstances" | "revokePlatformInstance" => &[Operator],
        "listIdentities" | "getIdentity" | "listTokens" => &[Operator, Admin, Auditor],
        "createIdentity" | "changeIdentity" | "revokeIdentity" => &[Operator, Admin],
        "createToken" | "revokeToken" => &[Operator, Admin],
        "listProjects" | "getProject" | "listLinks" => &[Admin, Auditor, ProjectAdmin, ProjectMember],
        "createProject" | "deleteProject" | "createLink" | "deleteLink" => &[Admin],
        "setMember" | "removeMember" => &[Admin, ProjectAdmin],
        "listGateways" | "getGateway" => &[Admin, Auditor, ProjectAdmin, ProjectMember],
        "createGateway" | "deleteGateway" => &[Admin],
        "createGatewayEnrolmentToken" | "revokeGatewayInstance" => &[Admin],
        "listRelays" | "getRelay" => &[Operator, Admin, Auditor],
        "createRelay" | "deleteRelay" => &[Operator, Admin],
        "createRelayEnrolmentToken" | "rotateRelaySecret" => &[Operator, Admin],
        "listAudit" | "verifyAudit" | "exportAudit" => &[Operator, Admin, Auditor],
        "listDatabases" | "getDatabase" | "listSecrets" | "getSecret" | "listRotations" | "getRotation" => {
            &[Admin, Auditor, ProjectAdmin, ProjectMember]
        }
        "createDatabase" | "updateDatabase" | "deleteDatabase" | "testDatabase" | "rotateDatabase" => {
            &[Admin, ProjectAdmin]
        }
        "createSecret" | "deleteSecret" | "testSecret" | "prepareSecret" => &[Admin, ProjectAdmin],
        "createRotation" | "deleteRotation" | "testRotation" | "rotate" => &[Admin, ProjectAdmin],
        "listLeases" | "getLease" | "getRestored" => &[Admin, Auditor, ProjectAdmin, ProjectMember],
        "createLease" | "renewLease" | "revokeLease" => &[Admin, ProjectAdmin, ProjectMember],
        "abandonLease" | "revokeLeasesOfSecret" => &[Admin, ProjectAdmin],
        "listOrphans" => &[Admin, Auditor, ProjectAdmin, ProjectMember],
        "scanDatabase" | "dropOrphan" => &[Admin, ProjectAdmin],
        "confirmRestored" => &[Admin],
        "getCredentials" => &[Admin, ProjectAdmin, ProjectMember],
        "createForwarding" | "getWay" | "setConnectorAddresses" => &[Admin, ProjectAdmin, ProjectMember],
        "beginGatewaySession" | "endGatewaySession" | "issueGatewayCertificate" | "gatewayHeartbeat" => {
            &[GatewayAgent]
        }
        "beginRelaySession" | "endRelaySession" | "issueRelayCertificate" | "relayHeartbeat" => &[RelayAgent],
        _ => return None,
    };
    Some(roles.to_vec())
}
