# METADATA
# title: The decision that the host asks for
# description: >-
#   The host evaluates exactly one document, data.bulkhead.authz.decision. This
#   file leaves it to the shipped rules; an operator who writes a package
#   bulkhead.authz replaces this file and no other.
package bulkhead.authz

# METADATA
# description: Allow or not, why, and on which conditions.
# entrypoint: true
decision := data.bulkhead.default.decision
