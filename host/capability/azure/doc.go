// Package azure is the capability "azure": subscriptions of Azure, read and
// operated through Azure Resource Manager. Its URLs are the resource's own id
// without the subscription, which the host knows:
// azure://INSTANCE/resourceGroups/GROUP/providers/Microsoft.ContainerInstance/containerGroups/NAME/restart.
//
// It defines which requests exist (operations) and how each is sent, and it holds and
// refreshes the credentials. Credentials, hosts, subscriptions and API versions never
// come from a plugin. Azure sees the host's identity and not the user's, so policy alone
// decides what a user may do.
//
// A list over several resource groups continues if one of them fails, and reports the
// failure. The answer of a long change has a sealed id. With it, every user who may read
// the resource can read the state of the change later, on any replica.
package azure
