package conf

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A form is how a text of a probe is written, and what it may be.
type form struct {
	read  func(*problems, value) string // nil: as it stands
	write func(string) string           // nil: quoted
	wrong func(string) string           // what is wrong with a text and what is allowed, "" if nothing
}

func (f *form) text(p *problems, v value) string {
	if f.read == nil {
		return p.text(v, "")
	}
	return f.read(p, v)
}

func (f *form) toml(s string) string {
	if f.write == nil {
		return quote(s)
	}
	return f.write(s)
}

// maxText bounds each text of a probe, in bytes.
const maxText = 4096

var (
	// A line cannot hold the end of a line, which would begin another command of the
	// protocols that are spoken in lines.
	lineForm = form{wrong: func(s string) string {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fmt.Sprintf("%q holds a control character; write one line of text", s)
		}
		return ""
	}}
	textForm = form{wrong: func(s string) string {
		if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
			return fmt.Sprintf("%q is not text", s)
		}
		return ""
	}}
	expressionForm = form{wrong: func(s string) string {
		if why := textForm.wrong(s); why != "" {
			return why
		}
		if _, err := regexp.Compile(s); err != nil {
			return fmt.Sprintf("is not a regular expression (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		return ""
	}}
	targetForm = form{wrong: func(s string) string {
		absolute := strings.HasPrefix(s, "/") || strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
		if !absolute || !printable(s) || strings.Contains(s, " ") {
			return fmt.Sprintf(`%q is not a request target; write one like "/index.html", without spaces`, s)
		}
		return ""
	}}
	fileForm = form{wrong: func(s string) string {
		if !filepath.IsAbs(s) || !printable(s) {
			return fmt.Sprintf("%q is not the path of a file; write an absolute path", s)
		}
		return ""
	}}
	methodForm = form{wrong: func(s string) string {
		if s == "" || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
			return fmt.Sprintf(`%q is not a method; write one in capitals, like "GET" or "HEAD"`, s)
		}
		return ""
	}}
	domainForm = form{wrong: func(s string) string {
		name := strings.TrimSuffix(s, ".")
		if name == "" && s != "" { // the root
			return ""
		}
		long := slices.ContainsFunc(strings.Split(name, "."), func(label string) bool { return label == "" || len(label) > 63 })
		if long || len(name) > 253 || !printable(name) || strings.Contains(name, " ") { // RFC 1035 section 2.3.4
			return fmt.Sprintf(`%q is not a name of the DNS; write one like "www.example.org"`, s)
		}
		return ""
	}}
	sipForm = form{wrong: func(s string) string {
		if !printable(s) || strings.ContainsAny(s, " <>") {
			return fmt.Sprintf(`%q is not a SIP address; write one like "sip:probe@example.org"`, s)
		}
		return ""
	}}
	digestForm = form{
		read: func(p *problems, v value) string { return strings.ToLower(p.text(v, "")) },
		wrong: func(s string) string {
			if _, err := hex.DecodeString(s); err != nil || len(s) != 32 && len(s) != 64 || strings.ToLower(s) != s {
				return fmt.Sprintf("%q is not a digest; write the 32 hexadecimal digits of MD5 (genhash makes them) or the 64 of SHA-256", s)
			}
			return ""
		},
	}
	recordForm = form{
		read: func(p *problems, v value) string { return strings.ToUpper(p.text(v, "")) },
		wrong: func(s string) string {
			n, byNumber := strings.CutPrefix(s, "TYPE")
			if _, err := strconv.ParseUint(n, 10, 16); byNumber && err == nil || slices.Contains(records, s) {
				return ""
			}
			return fmt.Sprintf("%q is not a type of DNS record; %s, or by number like TYPE65280", s, oneOf(records))
		},
	}
	statusForm = form{
		read: func(p *problems, v value) string {
			var parts []string
			for _, e := range p.list(v) {
				if n, ok := e.v.(int64); ok {
					parts = append(parts, strconv.FormatInt(n, 10))
				} else {
					parts = append(parts, strings.ReplaceAll(p.text(e, ""), " ", ""))
				}
			}
			return strings.Join(parts, ",")
		},
		wrong: wrongStatus,
	}
	escapedForm = form{
		read: func(p *problems, v value) string {
			s, err := unescape(p.text(v, ""))
			if err != nil {
				p.add(v.path, "%v", err)
			}
			return s
		},
		write: func(s string) string { return "'" + escape(s) + "'" },
		wrong: func(string) string { return "" },
	}
	argvForm = form{
		read: func(p *problems, v value) string {
			if s, ok := v.v.(string); ok && strings.Contains(s, " ") {
				p.add(v.path, "%q has a space; write the program and its arguments as a list, like [\"/usr/local/bin/probe\", \"-v\"]", s)
			}
			var words []string
			for _, e := range p.list(v) {
				words = append(words, p.text(e, ""))
			}
			return strings.Join(words, "\x00")
		},
		write: func(s string) string {
			words := strings.Split(s, "\x00")
			for i := range words {
				words[i] = quote(words[i])
			}
			return "[" + strings.Join(words, ", ") + "]"
		},
		wrong: func(s string) string {
			if name, _, _ := strings.Cut(s, "\x00"); !filepath.IsAbs(name) || !printable(name) {
				return fmt.Sprintf("%q is not the path of a program; write an absolute path, and its arguments after it in a list", name)
			}
			if !utf8.ValidString(s) {
				return fmt.Sprintf("%q is not text", s)
			}
			return ""
		},
	}
)

// records are the DNS types that have a name here (IANA's DNS parameters).
var records = strings.Fields(`A AAAA NS CNAME SOA PTR MX TXT SRV CAA HINFO RP AFSDB LOC NAPTR CERT DNAME DS SSHFP RRSIG NSEC
	DNSKEY NSEC3 NSEC3PARAM TLSA SMIMEA CDS CDNSKEY OPENPGPKEY CSYNC ZONEMD SVCB HTTPS SPF URI ANY`)

// wordForm is one of a few words.
func wordForm(words ...string) form {
	return form{wrong: func(s string) string {
		if slices.Contains(words, s) {
			return ""
		}
		return fmt.Sprintf("is %q; %s", s, oneOf(words))
	}}
}

// wrongStatus judges a set of status codes: three digits, RFC 9110 section 15.
func wrongStatus(s string) string {
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a < 100 || b > 999 || a > b {
			return fmt.Sprintf(`%q is not a status or a range of them; write them like 200, "200-299" or ["200-299", 301]`, part)
		}
	}
	return ""
}

// escapes are those of C beside \xHH.
var escapes = map[byte]byte{'a': 7, 'b': 8, 't': '\t', 'n': '\n', 'v': 11, 'f': 12, 'r': '\r', 'e': 27, '0': 0, '\\': '\\', '"': '"', '\'': '\''}

// unescape gives the bytes that C-style escapes mean.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", fmt.Errorf(`%q ends in a single "\"; write "\\" for one that is meant`, s)
		}
		if c, ok := escapes[s[i]]; ok {
			b.WriteByte(c)
			continue
		}
		n, err := strconv.ParseUint(s[min(i+1, len(s)):min(i+3, len(s))], 16, 8)
		if s[i] != 'x' || i+2 >= len(s) || err != nil {
			return "", fmt.Errorf(`%q holds "\%c", which is no escape; \r \n \t \0 \\ and \xHH with two hexadecimal digits are`, s, s[i])
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}

// escape writes bytes so that unescape gives them back and that they can stand in a literal
// string of TOML.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\\':
			b.WriteString(`\\`)
		case c < ' ' || c == '\'' || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
