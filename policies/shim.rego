# METADATA
# title: The decision that the host asks for
# description: >-
#   The host evaluates exactly one document, data.bulkhead.authz.decision. This file
#   takes it from the shipped rules. An operator's package bulkhead.authz replaces
#   this file and no other.
package bulkhead.authz

# METADATA
# description: Whether the request is allowed, the reason, and the conditions.
# entrypoint: true
decision := data.bulkhead.default.decision
