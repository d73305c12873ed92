//! Who calls, and what that allows: roles are turned into permissions here and nowhere else.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::problem::Problem;
use crate::store::INSTALLATION;
use crate::words::{AgentKind, ProjectRole, Role};

/// What a route may need of a person or a machine, within its own organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// See identities and what is known of their tokens.
    ReadIdentities,
    /// Make, change and revoke identities and tokens.
    ManageIdentities,
    /// See projects and links: all of them, or those of one's own projects.
    ReadProjects,
    /// Make and delete projects.
    ManageProjects,
    /// Say who is in a project: in any, or in those that one administers.
    ManageMembers,
    /// Say what a project reaches.
    ManageLinks,
    /// See gateways: all of them, or those that one's own projects are linked to.
    ReadGateways,
    /// Make, enrol, revoke and delete gateways.
    ManageGateways,
    /// See relays: one's organisation's, and shared ones.
    ReadRelays,
    /// Make, enrol and delete relays; an operator's are the shared ones.
    ManageRelays,
    /// Read the audit.
    ReadAudit,
    /// Reach targets.
    Forward,
    /// See databases, dynamic secrets and rotations: all of them, or those of one's own projects.
    ReadSecrets,
    /// Define databases, dynamic secrets and rotations: in any project, or in those that one administers.
    ManageSecrets,
    /// Lease users of dynamic secrets, and read the credentials of rotations.
    Lease,
}

/// A person or a machine that calls, and its organisation: every query is bound to it.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The organisation's id.
    pub organisation: String,
    /// The organisation's name.
    pub organisation_name: String,
    /// The identity's id.
    pub identity: String,
    /// The identity's name.
    pub name: String,
    /// Its roles in the organisation.
    pub roles: Vec<Role>,
    /// Its projects, by id, and its role in each.
    pub projects: Vec<(String, ProjectRole)>,
    /// Where it calls from.
    pub source: IpAddr,
}

impl Caller {
    /// Whether it makes organisations and shared relays.
    pub fn is_operator(&self) -> bool {
        self.organisation == INSTALLATION && self.roles.contains(&Role::Operator)
    }

    /// Whether it may, somewhere at least: where only some projects count, the handler asks
    /// [`project_role`](Self::project_role) too.
    pub fn may(&self, permission: Permission) -> bool {
        let by_role = self.roles.iter().any(|role| match role {
            Role::Operator => self.is_operator() && operators_may(permission),
            Role::Admin => self.organisation != INSTALLATION,
            Role::Auditor => auditors_may(permission),
        });
        by_role || self.projects.iter().any(|&(_, role)| members_may(role, permission))
    }

    /// Whether it sees everything in its organisation, rather than its own projects only.
    pub fn sees_everything(&self) -> bool {
        self.roles.iter().any(|role| matches!(role, Role::Admin | Role::Auditor))
    }

    /// Whether it administers its organisation.
    pub fn is_admin(&self) -> bool {
        self.may(Permission::ManageProjects)
    }

    /// Its role in the project with this id.
    pub fn project_role(&self, project: &str) -> Option<ProjectRole> {
        self.projects.iter().find(|(id, _)| id == project).map(|&(_, role)| role)
    }

    /// Whether it administers the project with this id, or its whole organisation.
    pub fn administers(&self, project: &str) -> bool {
        self.is_admin() || self.project_role(project) == Some(ProjectRole::Admin)
    }

    /// Whether it uses what is in the project with this id: as a member, or as the organisation's administrator.
    pub fn uses(&self, project: &str) -> bool {
        self.is_admin() || self.project_role(project).is_some()
    }

    /// Whose projects it is to be shown: `None` for all, else those of this identity.
    pub fn only_projects_of(&self) -> Option<&str> {
        (!self.sees_everything()).then_some(self.identity.as_str())
    }

    /// How the audit names it.
    pub fn actor(&self) -> String {
        format!("identity:{}", self.name)
    }
}

fn operators_may(permission: Permission) -> bool {
    use Permission as P;
    matches!(
        permission,
        P::ReadIdentities | P::ManageIdentities | P::ReadRelays | P::ManageRelays | P::ReadAudit
    )
}

fn auditors_may(permission: Permission) -> bool {
    use Permission as P;
    matches!(
        permission,
        P::ReadIdentities | P::ReadProjects | P::ReadGateways | P::ReadRelays | P::ReadAudit | P::ReadSecrets
    )
}

fn members_may(role: ProjectRole, permission: Permission) -> bool {
    use Permission as P;
    match permission {
        P::ReadProjects | P::ReadGateways | P::Forward | P::ReadSecrets | P::Lease => true,
        P::ManageMembers | P::ManageSecrets => role == ProjectRole::Admin,
        _ => false,
    }
}

/// A gateway instance or a relay that calls with an access token.
#[derive(Debug, Clone)]
pub struct Agent {
    /// What it is.
    pub kind: AgentKind,
    /// The id of the instance, or of the relay.
    pub id: String,
    /// The id of the gateway, or of the relay.
    pub of: String,
    /// The name of the gateway, or of the relay.
    pub name: String,
    /// The organisation's id; the installation's for a shared relay.
    pub organisation: String,
    /// The organisation's name.
    pub organisation_name: String,
    /// Where it calls from.
    pub source: IpAddr,
}

impl Agent {
    /// How the audit names it.
    pub fn actor(&self) -> String {
        match self.kind {
            AgentKind::Gateway => format!("gateway:{}/{}", self.name, self.id),
            AgentKind::Relay => format!("relay:{}", self.name),
        }
    }
}

/// Where a request comes from, for routes that nobody needs to be known for.
#[derive(Debug, Clone, Copy)]
pub struct Source(pub IpAddr);

/// The guard of the routes puts it there: that it is missing is a fault in the table of routes.
macro_rules! from_guard {
    ($type:ty) => {
        impl<S: Send + Sync> FromRequestParts<S> for $type {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                let missing =
                    || Problem::internal(concat!("the route let nobody through as ", stringify!($type)));
                parts.extensions.get::<Self>().cloned().ok_or_else(missing)
            }
        }
    };
}

from_guard!(Caller);
from_guard!(Agent);
from_guard!(Source);

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(organisation: &str, roles: &[Role], projects: &[(&str, ProjectRole)]) -> Caller {
        Caller {
            organisation: organisation.to_owned(),
            organisation_name: organisation.to_owned(),
            identity: "id".to_owned(),
            name: "ann".to_owned(),
            roles: roles.to_vec(),
            projects: projects.iter().map(|&(id, role)| (id.to_owned(), role)).collect(),
            source: [127, 0, 0, 1].into(),
        }
    }

    #[test]
    fn an_operator_sees_nothing_that_is_in_an_organisation() {
        let operator = caller(INSTALLATION, &[Role::Operator], &[]);
        assert!(operator.is_operator() && operator.may(Permission::ManageRelays));
        for permission in [Permission::ReadGateways, Permission::ReadProjects, Permission::Forward] {
            assert!(!operator.may(permission), "{permission:?}");
        }
        assert!(!operator.sees_everything());
    }

    #[test]
    fn roles_of_the_wrong_organisation_are_worth_nothing() {
        let inside = caller("acme", &[Role::Operator], &[]);
        assert!(!inside.is_operator() && !inside.may(Permission::ManageRelays));
        let outside = caller(INSTALLATION, &[Role::Admin], &[]);
        assert!(!outside.may(Permission::ManageProjects) && !outside.is_operator());
    }

    #[test]
    fn an_auditor_changes_nothing() {
        let auditor = caller("acme", &[Role::Auditor], &[]);
        assert!(auditor.may(Permission::ReadAudit) && auditor.sees_everything());
        assert!(!auditor.may(Permission::ManageLinks) && !auditor.may(Permission::Forward));
    }

    #[test]
    fn only_administrators_of_a_project_manage_its_members() {
        let member = caller("acme", &[], &[("p", ProjectRole::Member)]);
        assert!(member.may(Permission::Forward) && !member.may(Permission::ManageMembers));
        let admin = caller("acme", &[], &[("p", ProjectRole::Admin)]);
        assert!(admin.may(Permission::ManageMembers) && admin.project_role("q").is_none());
        assert!(!caller("acme", &[], &[]).may(Permission::ReadProjects));
    }
}
