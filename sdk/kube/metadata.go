package kube

// Metadata is the part of an object's metadata that plugins use most. Embed it in your own
// struct if you need more of it.
type Metadata struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace,omitempty"`
	UID               string            `json:"uid,omitempty"`
	ResourceVersion   string            `json:"resourceVersion,omitempty"`
	Generation        int64             `json:"generation,omitempty"`
	CreationTimestamp string            `json:"creationTimestamp,omitempty"` // RFC 3339
	DeletionTimestamp string            `json:"deletionTimestamp,omitempty"` // RFC 3339; empty: it is not being deleted
	Labels            map[string]string `json:"labels,omitempty"`
	Annotations       map[string]string `json:"annotations,omitempty"`
	OwnerReferences   []Owner           `json:"ownerReferences,omitempty"`
}

// Owner is an object that another belongs to.
type Owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
	Controller bool   `json:"controller,omitempty"`
}

// Partial is an object without its content, as GetMetadata, ListOptions.MetadataOnly and
// WatchOptions.MetadataOnly return it. Its kind is that of the answer, PartialObjectMetadata.
type Partial struct {
	Metadata Metadata `json:"metadata"`
}
