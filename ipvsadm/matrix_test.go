package ipvsadm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// The table of ipvsadm(8)'s commands and options, written down a second time and as
// words, apart from legal.go: the command, its name in messages, then options by their names
// in messages: "!" needed, "1" at most one of these, else allowed.
var matrixText = `
-A                    | add-service    | !service-address scheduler persistent netmask ops pe sched-flags
-E                    | edit-service   | !service-address scheduler persistent netmask ops pe sched-flags
-D                    | delete-service | !service-address
-C                    | flush          |
-L                    | list           | 1connection 1service-address 1timeout 1daemon numeric stats rate thresholds persistent-conn nosort exact tun-info syncid
-l                    | list           | 1connection 1service-address 1timeout 1daemon numeric stats rate thresholds persistent-conn nosort exact tun-info syncid
-a                    | add-server     | !service-address !real-server forwarding-method weight u-threshold l-threshold tun-type tun-port tun-nocsum tun-csum tun-remcsum
-e                    | edit-server    | !service-address !real-server forwarding-method weight u-threshold l-threshold tun-type tun-port tun-nocsum tun-csum tun-remcsum
-d                    | delete-server  | !service-address !real-server
--set 1 2 3           | set            |
--start-daemon master | start-daemon   | mcast-interface syncid sync-maxlen mcast-group mcast-port mcast-ttl
--stop-daemon backup  | stop-daemon    | syncid
-R                    | restore        |
-S                    | save           | numeric
-Z                    | zero           | service-address
`

// How each option may be written; the order is that in which mistakes are found.
var matrixOptions = []struct{ name, words string }{
	{"numeric", "-n"}, {"connection", "--connection"}, {"service-address", "-u 10.0.0.1:53"},
	{"scheduler", "-s rr"}, {"persistent", "-p 10"}, {"netmask", "-M 255.0.0.0"},
	{"real-server", "-r 10.0.0.2"}, {"forwarding-method", "-i"}, {"weight", "--weight=5"},
	{"u-threshold", "-x9"}, {"l-threshold", "-y 8"}, {"mcast-interface", "--mcast-interface eth1"},
	{"timeout", "--timeout"}, {"daemon", "--daemon"}, {"stats", "--stats"}, {"rate", "--rate"},
	{"thresholds", "--thresholds"}, {"persistent-conn", "--persistent-conn"}, {"nosort", "--nosort"},
	{"syncid", "--syncid=7"}, {"exact", "-X"}, {"ops", "-o"}, {"pe", "--pe sip"}, {"sched-flags", "-b flag-1"},
	{"mcast-group", "--mcast-group 224.0.0.1"}, {"mcast-port", "--mcast-port 1"}, {"mcast-ttl", "--mcast-ttl 1"},
	{"sync-maxlen", "--sync-maxlen 1"}, {"tun-info", "--tun-info"}, {"tun-type", "--tun-type gue"},
	{"tun-port", "--tun-port 9"}, {"tun-nocsum", "--tun-nocsum"}, {"tun-csum", "--tun-csum"},
	{"tun-remcsum", "--tun-remcsum"},
}

// matrixRow is a line of matrixText: the mark of each option allowed is "!", "1" or "".
type matrixRow struct {
	words, name string
	marks       map[string]string
}

func matrix() (rows []matrixRow) {
	for line := range strings.Lines(strings.TrimSpace(matrixText)) {
		col := strings.Split(line, "|")
		r := matrixRow{strings.TrimSpace(col[0]), strings.TrimSpace(col[1]), map[string]string{}}
		for _, word := range strings.Fields(col[2]) {
			name := strings.TrimLeft(word, "!1")
			r.marks[name] = strings.TrimSuffix(word, name)
		}
		rows = append(rows, r)
	}
	return rows
}

// oracle decides about a command with options; "" is yes.
func (r matrixRow) oracle(given map[string]bool) string {
	name, exclusive := r.name, ""
	for _, o := range matrixOptions {
		mark, allowed := r.marks[o.name]
		if !allowed {
			mark = "x"
		}
		switch {
		case mark == "!" && !given[o.name]:
			return fmt.Sprintf("You need to supply the '%s' option for the '%s' command", o.name, name)
		case mark == "x" && given[o.name]:
			return fmt.Sprintf("Illegal '%s' option with the '%s' command", o.name, name)
		case mark == "1" && given[o.name]:
			if exclusive != "" {
				return fmt.Sprintf("The option '%s' conflicts with the '%s' option in the '%s' command", o.name, exclusive, name)
			}
			exclusive = o.name
		}
	}
	switch name {
	case "list":
		counters := given["stats"] || given["rate"] || given["thresholds"]
		if counters && (given["connection"] || given["timeout"] || given["daemon"]) ||
			given["persistent-conn"] && (given["timeout"] || given["daemon"]) {
			return "options conflicts in the list command"
		}
	case "add-server", "edit-server":
		return tunnelOracle(given)
	}
	return ""
}

func tunnelOracle(given map[string]bool) string {
	var sub []string
	for _, o := range []string{"tun-port", "tun-nocsum", "tun-csum", "tun-remcsum"} {
		if given[o] {
			sub = append(sub, o)
		}
	}
	checksums := slices.DeleteFunc(slices.Clone(sub), func(o string) bool { return o == "tun-port" })
	switch {
	case (len(sub) > 0 || given["tun-type"]) && !given["forwarding-method"]:
		return "Tunnel options conflict with forward method"
	case !given["tun-type"] && len(sub) > 0: // ipip
		return "Illegal '" + sub[0] + "' option with the 'ipip' tunnel type"
	case given["tun-type"] && !given["tun-port"]: // gue
		return "You need to supply the 'tun-port' option for the 'gue' tunnel type"
	case len(checksums) > 1:
		return "The option '" + checksums[1] + "' conflicts with the '" + checksums[0] + "' option in the 'gue' tunnel type"
	}
	return ""
}

// Every command with every two options, in any order, beside five sets of usual ones, gives the answer that the
// table above asks for.
func TestEveryCommandWithEveryOption(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	cases, refused := 0, 0
	try := func(r matrixRow, options ...int) {
		given := map[string]bool{}
		var parts []string
		for _, i := range options {
			if o := matrixOptions[i]; !given[o.name] {
				given[o.name] = true
				parts = append(parts, o.words)
			}
		}
		rnd.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		line := r.words + " " + strings.Join(parts, " ")
		cases++
		cmd, err := Parse(strings.Fields(line), Env{})
		got, want := "", r.oracle(given)
		if err != nil {
			refused++
			got = err.Error()
			if e := err.(*Error); e.ExitCode != 2 || e.Hint || !e.Ends {
				t.Fatalf("%s: %+v, want exit 2", line, e)
			}
		} else if cmd.Op.String() != r.name {
			t.Fatalf("%s: command %v", line, cmd.Op)
		}
		if got != want {
			t.Fatalf("%s: %q, want %q", line, got, want)
		}
	}
	for _, r := range matrix() {
		for _, base := range [][]int{{}, {2}, {2, 6}, {2, 6, 7}, {2, 6, 7, 29, 30}} { // service, server, -i, gue and its port
			try(r, base...)
			for i := range matrixOptions {
				for j := range i + 1 {
					try(r, append(slices.Clone(base), i, j)...)
				}
			}
		}
	}
	if cases < 40_000 || refused == 0 || refused == cases {
		t.Errorf("%d cases, %d refused", cases, refused)
	}
	t.Logf("%d cases, %d refused", cases, refused)
}

// No option twice, however it is written; -6 and --sort do not count.
func TestRepeatedOptions(t *testing.T) {
	for _, o := range matrixOptions {
		_, err := Parse(strings.Fields("-L "+o.words+" "+o.words), Env{})
		if want := "multiple '" + o.name + "' options specified"; err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", o.words, err, want)
		}
	}
	for _, line := range []string{"-L --sort --sort", "-L -f 1 -6 -6"} {
		if _, err := Parse(strings.Fields(line), Env{}); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// The vocabulary and the tables agree with each other.
func TestVocabularyIsConsistent(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range spellings {
		key := s.long + "/" + string(s.short)
		if seen[key] {
			t.Errorf("%s twice", key)
		}
		seen[key] = true
		if s.short != 0 && findShort(s.short).long != s.long {
			t.Errorf("-%c is %s and %s", s.short, s.long, findShort(s.short).long)
		}
		if !strings.Contains(usage+differences, "--"+s.long) {
			t.Errorf("--%s is not in the help", s.long)
		}
		if s.short != 0 && !strings.Contains(usage+differences, "-"+string(s.short)) {
			t.Errorf("-%c is not in the help", s.short)
		}
	}
	for i, o := range matrixOptions {
		if optionNames[i] != o.name {
			t.Errorf("option %d is %q, want %q", i, optionNames[i], o.name)
		}
	}
}
