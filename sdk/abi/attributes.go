package abi

// Limits of the attributes of a log record.
const (
	MaxAttributes     = 32
	MaxAttributeBytes = 8 << 10 // of all, encoded
)

// AppendAttributes appends the attributes of a log record for ImportRecord: a field of the type
// headers. It leaves out those that exceed MaxAttributes, and cuts or leaves out what exceeds
// MaxAttributeBytes.
func AppendAttributes(b []byte, attributes []Pair) []byte {
	room := MaxAttributeBytes - 4
	kept := make([]Pair, 0, min(len(attributes), MaxAttributes))
	for _, p := range attributes {
		if room -= 8 + len(p.Name); room < 0 || len(kept) == MaxAttributes {
			break
		}
		p.Value = p.Value[:min(len(p.Value), room)]
		room -= len(p.Value)
		kept = append(kept, p)
	}
	e := encoder{b}
	e.pairs(kept)
	return e.b
}

// DecodeAttributes reads what AppendAttributes has written. The error is a *FrameError.
func DecodeAttributes(data []byte) ([]Pair, error) {
	if len(data) > MaxAttributeBytes {
		return nil, &FrameError{"attributes", "are longer than 8192 bytes"}
	}
	d := copied(data)
	list := d.pairs("attributes", MaxAttributes, &room{})
	return list, d.done()
}
