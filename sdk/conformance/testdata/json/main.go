// Command json decodes and encodes lists in several ways, for BenchmarkJSON.
package main

import (
	"encoding/json"
	"strconv"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/jsonscan"
)

func main() {}

// pod is what a list of pods shows.
type pod struct {
	Metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase             string `json:"phase"`
		ContainerStatuses []struct {
			Name         string `json:"name"`
			Ready        bool   `json:"ready"`
			RestartCount int    `json:"restartCount"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

type list struct {
	Items []pod `json:"items"`
}

// row is one of an answer's.
type row struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Phase     string `json:"phase"`
	Ready     int    `json:"ready"`
	Restarts  int    `json:"restarts"`
}

var rows []row

func init() {
	sdk.OnStart(func(*sdk.Start) error {
		sdk.WarmJSON(list{}, rows)
		for i := range 200 {
			rows = append(rows, row{"web-" + strconv.Itoa(i), "shop", "Running", 1, i % 7})
		}
		return nil
	})
	handle("unmarshal", func(body []byte, use func(*pod)) error {
		var l list
		if err := json.Unmarshal(body, &l); err != nil {
			return err
		}
		for i := range l.Items {
			use(&l.Items[i])
		}
		return nil
	})
	handle("each", items(func(object []byte, p *pod) error { return json.Unmarshal(object, p) }))
	handle("decode", items(func(object []byte, p *pod) error { return jsonscan.Decode(object, p) }))
	handle("hand", items(byHand))
	sdk.Handle("marshal", func(*sdk.Request) (*sdk.Response, error) { return sdk.JSON(200, rows) })
	sdk.Handle("append", func(*sdk.Request) (*sdk.Response, error) {
		return sdk.Bytes(200, "application/json", appendRows(make([]byte, 0, 4096))), nil
	})
}

// handle answers with the number of pods and of restarts.
func handle(name string, decode func([]byte, func(*pod)) error) {
	sdk.Handle(name, func(r *sdk.Request) (*sdk.Response, error) {
		pods, restarts := 0, 0
		err := decode(r.Body(), func(p *pod) {
			if p.Metadata.Labels["app"] != "" && p.Status.Phase == "Running" && p.Spec.NodeName != "" {
				pods++
			}
			for _, c := range p.Status.ContainerStatuses {
				restarts += c.RestartCount
			}
		})
		return sdk.Text(200, strconv.Itoa(pods)+" "+strconv.Itoa(restarts)), err
	})
}

// items decodes a list one object at a time.
func items(decode func([]byte, *pod) error) func([]byte, func(*pod)) error {
	return func(body []byte, use func(*pod)) error {
		return jsonscan.Members(body, func(name string, value []byte) error {
			if name != "items" {
				return nil
			}
			return jsonscan.Elements(value, func(object []byte) error {
				var p pod
				err := decode(object, &p)
				use(&p)
				return err
			})
		})
	}
}

// byHand is what a generator would write for pod.
func byHand(object []byte, p *pod) error {
	text := func(value []byte) string { return string(value[1 : len(value)-1]) }
	return jsonscan.Members(object, func(name string, value []byte) error {
		switch name {
		case "metadata":
			return jsonscan.Members(value, func(name string, value []byte) error {
				switch name {
				case "name":
					p.Metadata.Name = text(value)
				case "namespace":
					p.Metadata.Namespace = text(value)
				case "labels":
					p.Metadata.Labels = map[string]string{}
					return jsonscan.Members(value, func(name string, value []byte) error {
						p.Metadata.Labels[name] = text(value)
						return nil
					})
				}
				return nil
			})
		case "spec":
			return jsonscan.Members(value, func(name string, value []byte) error {
				if name == "nodeName" {
					p.Spec.NodeName = text(value)
				}
				return nil
			})
		case "status":
			return jsonscan.Members(value, func(name string, value []byte) error {
				switch name {
				case "phase":
					p.Status.Phase = text(value)
				case "containerStatuses":
					return jsonscan.Elements(value, func(value []byte) error {
						n := len(p.Status.ContainerStatuses)
						p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, struct {
							Name         string `json:"name"`
							Ready        bool   `json:"ready"`
							RestartCount int    `json:"restartCount"`
						}{})
						c := &p.Status.ContainerStatuses[n]
						return jsonscan.Members(value, func(name string, value []byte) (err error) {
							switch name {
							case "name":
								c.Name = text(value)
							case "ready":
								c.Ready = string(value) == "true"
							case "restartCount":
								c.RestartCount, err = strconv.Atoi(string(value))
							}
							return err
						})
					})
				}
				return nil
			})
		}
		return nil
	})
}

// appendRows is what a generator would write for rows.
func appendRows(b []byte) []byte {
	b = append(b, '[')
	for i, r := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(append(b, `{"name":`...), r.Name), `,"namespace":`...)
		b = append(strconv.AppendQuote(b, r.Namespace), `,"phase":`...)
		b = append(strconv.AppendQuote(b, r.Phase), `,"ready":`...)
		b = append(strconv.AppendInt(b, int64(r.Ready), 10), `,"restarts":`...)
		b = append(strconv.AppendInt(b, int64(r.Restarts), 10), '}')
	}
	return append(b, ']')
}
