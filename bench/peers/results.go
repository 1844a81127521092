package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// results are a run as it is kept: every sample, so that tables can be made again.
type results struct {
	Machine machine  `json:"machine"`
	Rounds  int      `json:"rounds"`
	Quick   bool     `json:"quick,omitempty"`
	Whole   bool     `json:"whole"` // not interrupted
	Rows    []row    `json:"rows"`  // in the order of the tables
	Samples []sample `json:"samples"`
}

// row names a forwarder.
type row struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

// load reads results that save has written.
func load(file string) (r results, err error) {
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("results %s: %w", file, err)
	}
	return r, nil
}

func (r *results) save(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// series is a figure of one forwarder in each round that has it.
func (r *results) series(name, measure string, of figure) map[int]float64 {
	s := map[int]float64{}
	for _, x := range r.Samples {
		if x.Forwarder == name && x.Measure == measure && x.Error == "" {
			if v, ok := of(x.Values); ok {
				s[x.Round] = v
			}
		}
	}
	return s
}

// summary summarizes a series.
func (r *results) summary(name, measure string, of figure) summary {
	return summarize(all(r.series(name, measure, of)))
}

// ratio summarizes what a forwarder has of a reference in the same round: whatever the
// machine did in that round, it did to both.
func (r *results) ratio(name, reference, measure string, of figure) summary {
	ours, theirs := r.series(name, measure, of), r.series(reference, measure, of)
	var ratios []float64
	for round, v := range ours {
		if t := theirs[round]; t > 0 {
			ratios = append(ratios, v/t)
		}
	}
	return summarize(ratios)
}

func all(s map[int]float64) (v []float64) {
	for _, x := range s {
		v = append(v, x)
	}
	return v
}

// stolen is the most CPUs that the host took away during a sample.
func (r *results) stolen() (most float64) {
	for _, s := range r.Samples {
		most = max(most, s.Values["stolen"])
	}
	return most
}

// failures lists what went wrong. A forwarder that did not start but did at another time was
// not refused.
func (r *results) failures() (list []string) {
	for _, s := range r.Samples {
		said := s.Error
		if s.Refused != "" && r.refused(s.Forwarder, s.Measure) == "" {
			said = "it did not start: " + s.Refused
		}
		if said != "" {
			list = append(list, fmt.Sprintf("round %d, %s, %s: %s", s.Round+1, s.Measure, s.Forwarder, said))
		}
	}
	return list
}

// refused says why a forwarder is not in a measure: it never started; "" if it did, or was
// not to be.
func (r *results) refused(name, measure string) (why string) {
	for _, s := range r.Samples {
		if s.Forwarder == name && s.Refused == "" {
			return ""
		}
		if s.Forwarder == name && s.Measure == measure {
			why = s.Refused
		}
	}
	return why
}

// figure takes a figure out of a sample; ok is false if it is not there.
type figure func(values) (v float64, ok bool)

// value is a figure by its name, times scale.
func value(name string, scale float64) figure {
	return func(v values) (float64, bool) {
		x, ok := v[name]
		return x * scale, ok
	}
}

// per is one figure over another, times scale.
func per(a, b string, scale float64) figure {
	return func(v values) (float64, bool) {
		x, y := v[a], v[b]
		if y <= 0 {
			return 0, false
		}
		return x / y * scale, true
	}
}
