// Package azure is the capability "azure": subscriptions of Azure, read and
// operated through Azure Resource Manager. Its URLs are the resource's own id
// without the subscription, which the host knows:
// azure://INSTANCE/resourceGroups/GROUP/providers/Microsoft.ContainerInstance/containerGroups/NAME/restart.
//
// It owns which requests those are (operations), how each becomes a request on
// the wire, and the credentials: they are held and refreshed here, and neither
// they nor anything that names a host, a subscription or an API version comes
// from a plugin. Azure sees the host's identity and not the person, so that
// what a person may do is policy's alone.
//
// Lists over several resource groups go on where one of them fails, and say so.
// A change that takes long is answered with a sealed name, by which its state
// can be read later, by anybody who may read the resource, on any replica.
package azure
