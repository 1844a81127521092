package conf

import (
	"slices"

	"github.com/dirigo-lb/dirigo/packet"
)

// probeTypes are the words of type, in the order in which they are told.
var probeTypes = []ProbeType{
	ProbePing, ProbeTCP, ProbeUDP, ProbeHTTP, ProbeHTTPS, ProbeDNS, ProbeSMTP, ProbeIMAP, ProbePOP, ProbeFTP, ProbeLDAP,
	ProbeMySQL, ProbePgSQL, ProbeRedis, ProbeRADIUS, ProbeSIP, ProbeFastCGI, ProbeGRPC, ProbeScript, ProbeExternal,
	ProbeFile, ProbeNone,
}

// spokenTypes are other tools' words for them: keepalived's checkers, ldirectord's
// checktypes and services, and what people say, in lower case.
var spokenTypes = map[string]ProbeType{
	"tcp_check": ProbeTCP, "http_get": ProbeHTTP, "ssl_get": ProbeHTTPS, "smtp_check": ProbeSMTP, "dns_check": ProbeDNS,
	"misc_check": ProbeScript, "udp_check": ProbeUDP, "ping_check": ProbePing, "file_check": ProbeFile, "misc": ProbeScript,
	"connect": ProbeTCP, "simpletcp": ProbeTCP, "on": ProbeNone, "submission": ProbeSMTP, "imaps": ProbeIMAP, "pops": ProbePOP,
	"ldaps": ProbeLDAP, "pop3": ProbePOP, "icmp": ProbePing, "ssl": ProbeHTTPS, "postgres": ProbePgSQL, "postgresql": ProbePgSQL,
	"mariadb": ProbeMySQL, "php-fpm": ProbeFastCGI,
}

// A probeKey is a key of the file that says what some types of probe ask, and the field
// of Probe that holds it.
type probeKey struct {
	name  string
	types []ProbeType
	at    func(*Probe) *string
	form  form
	def   string
}

var (
	webTypes   = []ProbeType{ProbeHTTP, ProbeHTTPS}
	pageTypes  = []ProbeType{ProbeHTTP, ProbeHTTPS, ProbeFastCGI}
	sqlTypes   = []ProbeType{ProbeMySQL, ProbePgSQL}
	loginTypes = []ProbeType{ProbeFTP, ProbeIMAP, ProbePOP, ProbeLDAP, ProbeMySQL, ProbePgSQL, ProbeRedis, ProbeRADIUS}
	programs   = []ProbeType{ProbeScript, ProbeExternal}
	// startTypes have a command of their own to begin TLS, tlsTypes may begin with it.
	startTypes = []ProbeType{ProbeSMTP, ProbeIMAP, ProbePOP, ProbeFTP, ProbeLDAP}
	tlsTypes   = append([]ProbeType{ProbeTCP, ProbeHTTPS, ProbeMySQL, ProbePgSQL, ProbeRedis, ProbeSIP, ProbeGRPC}, startTypes...)
	// portless ask no port.
	portless = []ProbeType{ProbePing, ProbeScript, ProbeExternal, ProbeFile, ProbeNone}
)

var probeKeys = []probeKey{
	{"send", []ProbeType{ProbeTCP, ProbeUDP}, func(p *Probe) *string { return &p.Send }, escapedForm, ""},
	{"expect", []ProbeType{ProbeTCP, ProbeUDP}, func(p *Probe) *string { return &p.Expect }, expressionForm, ""},
	{"path", webTypes, func(p *Probe) *string { return &p.Path }, targetForm, "/"},
	{"path", []ProbeType{ProbeFastCGI}, func(p *Probe) *string { return &p.Path }, targetForm, ""},
	{"path", []ProbeType{ProbeFile}, func(p *Probe) *string { return &p.Path }, fileForm, ""},
	{"service", []ProbeType{ProbeGRPC}, func(p *Probe) *string { return &p.Path }, lineForm, ""},
	{"method", webTypes, func(p *Probe) *string { return &p.Method }, methodForm, "GET"},
	{"host", webTypes, func(p *Probe) *string { return &p.Host }, lineForm, ""},
	{"helo", []ProbeType{ProbeSMTP}, func(p *Probe) *string { return &p.Host }, lineForm, ""},
	{"status", pageTypes, func(p *Probe) *string { return &p.Status }, statusForm, ""},
	{"body", pageTypes, func(p *Probe) *string { return &p.Body }, expressionForm, ""},
	{"digest", webTypes, func(p *Probe) *string { return &p.Digest }, digestForm, ""},
	{"version", webTypes, func(p *Probe) *string { return &p.HTTP }, wordForm("1.0", "1.1", "2"), ""},
	{"connection", []ProbeType{ProbeHTTP}, func(p *Probe) *string { return &p.Connection }, wordForm("kept"), ""},
	{"query", []ProbeType{ProbeDNS}, func(p *Probe) *string { return &p.Name }, domainForm, ""},
	{"record", []ProbeType{ProbeDNS}, func(p *Probe) *string { return &p.Record }, recordForm, ""},
	{"base", []ProbeType{ProbeLDAP}, func(p *Probe) *string { return &p.Name }, lineForm, ""},
	{"uri", []ProbeType{ProbeSIP}, func(p *Probe) *string { return &p.Name }, sipForm, ""},
	{"transport", []ProbeType{ProbeDNS, ProbeSIP}, func(p *Probe) *string { return &p.Transport }, wordForm("udp", "tcp"), ""},
	{"answer", []ProbeType{ProbeDNS, ProbeLDAP}, func(p *Probe) *string { return &p.Answer }, expressionForm, ""},
	{"user", loginTypes, func(p *Probe) *string { return &p.User }, lineForm, ""},
	{"password", loginTypes, func(p *Probe) *string { return &p.Password }, lineForm, ""},
	{"password_file", loginTypes, func(p *Probe) *string { return &p.PasswordFile }, fileForm, ""},
	{"secret", []ProbeType{ProbeRADIUS}, func(p *Probe) *string { return &p.Secret }, lineForm, ""},
	{"secret_file", []ProbeType{ProbeRADIUS}, func(p *Probe) *string { return &p.SecretFile }, fileForm, ""},
	{"database", sqlTypes, func(p *Probe) *string { return &p.Database }, lineForm, ""},
	{"query", sqlTypes, func(p *Probe) *string { return &p.Query }, textForm, ""},
	{"command", programs, func(p *Probe) *string { return &p.Command }, argvForm, ""},
}

// The keys of a check that all types have, and those of the table of defaults.
var (
	policyKeys = []string{"interval", "retry_delay", "timeout", "jitter", "rise", "fall", "window", "alpha", "warmup"}
	commonKeys = append([]string{"name", "type"}, policyKeys...)
	// targetKeys say whom a probe asks: those with a port.
	targetKeys = []string{"via", "address", "port"}
)

// keys are the names of all keys that a check of that type has.
func (t ProbeType) keys() []string {
	keys := slices.Clone(commonKeys)
	switch {
	case t == ProbePing:
		keys = append(keys, "address")
	case !slices.Contains(portless, t):
		keys = append(keys, targetKeys...)
	}
	for i := range probeKeys {
		if k := &probeKeys[i]; slices.Contains(k.types, t) {
			keys = append(keys, k.name)
		}
	}
	if slices.Contains(tlsTypes, t) {
		keys = append(keys, "tls")
	}
	if t == ProbeScript {
		keys = append(keys, "dynamic")
	}
	return keys
}

// havingKey are the types that have a key.
func havingKey(key string) (types []string) {
	for _, t := range probeTypes {
		if slices.Contains(t.keys(), key) {
			types = append(types, string(t))
		}
	}
	return types
}

// proto is the transport protocol a probe asks by.
func (p *Probe) proto() uint8 {
	switch {
	case p.Type == ProbeUDP, p.Type == ProbeRADIUS, p.Type == ProbeDNS && p.Transport != "tcp",
		p.Type == ProbeSIP && p.Transport != "tcp" && p.TLS.Mode == TLSOff:
		return packet.UDP
	}
	return packet.TCP
}

// StandardPort is the port of the probe's protocol in IANA's registry, fastcgi's being
// php-fpm's and grpc's that of its examples; 0: it has none.
func (p *Probe) StandardPort() uint16 {
	ports := standardPorts[p.Type]
	if p.TLS.Mode == TLSOn && ports[1] != 0 {
		return ports[1]
	}
	return ports[0]
}

// standardPorts are those without and, where it is another, with TLS from the first byte.
var standardPorts = map[ProbeType][2]uint16{
	ProbeHTTP: {80}, ProbeHTTPS: {443}, ProbeDNS: {53}, ProbeSMTP: {25, 465}, ProbeIMAP: {143, 993}, ProbePOP: {110, 995},
	ProbeFTP: {21, 990}, ProbeLDAP: {389, 636}, ProbeMySQL: {3306}, ProbePgSQL: {5432}, ProbeRedis: {6379},
	ProbeRADIUS: {1812}, ProbeSIP: {5060, 5061}, ProbeFastCGI: {9000}, ProbeGRPC: {50051},
}
