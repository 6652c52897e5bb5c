package strictyaml

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Lines returns the line of each value in the one document of text, by its path, such
// as "clusters[0].name"; keys are as in JSON, and what an alias or a merge stands for
// has no lines of its own. It is empty for a text that Parse refuses.
func Lines(text []byte, l Limits) map[string]int {
	lines := map[string]int{}
	if root, err := Parse(text, l); err == nil && root != nil {
		locate(root, "", lines)
	}
	return lines
}

func locate(n *yaml.Node, path string, lines map[string]int) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, err := key(n.Content[i])
			if err != nil {
				continue
			}
			if path != "" {
				k = path + "." + k
			}
			lines[k] = n.Content[i].Line
			locate(n.Content[i+1], k, lines)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			lines[at] = c.Line
			locate(c, at, lines)
		}
	}
}
