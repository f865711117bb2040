matchbox's own tests: its handlers, how groups match and are ordered, what its metadata looks like.

== file data/groups/test-group.json
{"id": "test-group", "name": "test group", "profile": "g1h2i3j4", "selector": {"uuid": "a1b2c3d4"},
 "metadata": {"pod_network": "10.2.0.0/16", "service_name": "etcd2"}}
== file data/profiles/g1h2i3j4.json
{"id": "g1h2i3j4", "cloud_id": "cloud-config.tmpl", "ignition_id": "file.ign", "generic_id": "generic.tmpl",
 "boot": {"kernel": "/image/kernel", "initrd": ["/image/initrd_a", "/image/initrd_b"], "args": ["a=b", "c"]}}
== file data/cloud/cloud-config.tmpl
#cloud-config
coreos:
  etcd2:
    name: {{.uuid}}
  units:
    - name: {{.service_name}}
    - name: {{.request.query.foo}}
== file data/generic/generic.tmpl
#foo-bar-baz template
UUID={{.uuid}}
SERVICE={{.service_name}}
FOO={{.request.query.foo}}
== file data/ignition/file.ign
{"ignition":{"version":"2.0.0","config":{}},"storage":{},"systemd":{"units":[{"name":"etcd2.service","enable":true}]},"networkd":{},"passwd":{}}
\
=== Handlers.
== GET /
200 text/plain; charset=utf-8
matchbox
== GET /nope
404
== GET /boot.ipxe
200 text/plain; charset=utf-8
#!ipxe
chain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}&serial=${serial}&arch=${buildarch:uristring}&platform=${platform}
== GET /ipxe?uuid=a1b2c3d4
200 text/plain; charset=utf-8
#!ipxe
kernel /image/kernel a=b c
initrd /image/initrd_a
initrd /image/initrd_b
boot
== GET /grub?uuid=a1b2c3d4
200 text/plain; charset=utf-8
default=0
fallback=1
timeout=1
menuentry "CoreOS (EFI)" {
echo "Loading kernel"
linuxefi "/image/kernel" a=b c
echo "Loading initrd"
initrdefi  "/image/initrd_a" "/image/initrd_b"
}
menuentry "CoreOS (BIOS)" {
echo "Loading kernel"
linux "/image/kernel" a=b c
echo "Loading initrd"
initrd  "/image/initrd_a" "/image/initrd_b"
}
== GET /cloud?uuid=a1b2c3d4&foo=some-param
200 text/plain; charset=utf-8
#cloud-config
coreos:
  etcd2:
    name: a1b2c3d4
  units:
    - name: etcd2
    - name: some-param
== GET /cloud?uuid=a1b2c3d4&foo=some-param Range:bytes=0-12
206 text/plain; charset=utf-8
#cloud-config
\
== GET /generic?uuid=a1b2c3d4&foo=some-param
200 text/plain; charset=utf-8
#foo-bar-baz template
UUID=a1b2c3d4
SERVICE=etcd2
FOO=some-param
== GET /ignition?uuid=a1b2c3d4
200 application/json
{"ignition":{"version":"2.0.0","config":{}},"storage":{},"systemd":{"units":[{"name":"etcd2.service","enable":true}]},"networkd":{},"passwd":{}}
\
=== What is not there is a 404. What can't be used is a 500: matchbox has a 404 for both, without a reason.
== GET /ipxe
404 application/json
{"error":"no group has a machine with "}
\
== GET /metadata?a=b
404 application/json
{"error":"no group has a machine with a=b"}
\
== GET /cloud?uuid=a1b2c3d4
500 application/json
{"error":"cloud/cloud-config.tmpl:7:29: map has no entry for key \"foo\" (it has uuid)"}
\
== GET /generic?uuid=a1b2c3d4
500 application/json
{"error":"generic/generic.tmpl:4:21: map has no entry for key \"foo\" (it has uuid)"}
\
== GET /ipxe.sig?uuid=a1b2c3d4
404 application/json
{"error":"nothing is signed here: there is no matchbox.key_ring"}
\
== POST /ipxe?uuid=a1b2c3d4
405
=== Groups: those whose selectors are all among the labels; of them the one with the most; of as many the last by its text.
== file data/profiles/which.json
{"id": "which", "generic_id": "which"}
== file data/generic/which
{{.group}}
== file data/groups/one.json
{"id": "one", "profile": "which", "selector": {"region": "a"}, "metadata": {"group": "one"}}
== file data/groups/two.json
{"id": "two", "profile": "which", "selector": {"region": "a", "zone": "z"}, "metadata": {"group": "two"}}
== file data/groups/dual.json
{"id": "dual", "profile": "which", "selector": {"region": "b", "zone": "z"}, "metadata": {"group": "dual"}}
== file data/groups/node1.json
{"id": "node1", "name": "test group", "profile": "which", "selector": {"uuid": "a1b2c3d4", "mac": "52-DA-00-89-D8-10"}, "metadata": {"group": "node1"}}
== file data/groups/upper.json
{"id": "upper", "profile": "which", "selector": {"MAC": "52-da-00-89-d8-11"}, "metadata": {"group": "upper"}}
== file data/groups/metal.json
{"id": "metal", "profile": "which", "selector": {"platform": "metal"}, "metadata": {"group": "metal"}}
== GET /generic?region=a
200 text/plain; charset=utf-8
one
== GET /generic?region=a&zone=z
200 text/plain; charset=utf-8
two
== GET /generic?region=b&zone=z
200 text/plain; charset=utf-8
dual
== GET /generic?region=b
404 application/json
{"error":"no group has a machine with region=b"}
\
== GET /generic?uuid=a1b2c3d4&mac=52:da:00:89:d8:10
200 text/plain; charset=utf-8
node1
== GET /generic?uuid=a1b2c3d4&mac=52-DA-00-89-D8-10&name=any
200 text/plain; charset=utf-8
node1
== GET /generic?uuid=a1b2c3d4&mac=52:da:00:89:d8:10&region=a&zone=z
200 text/plain; charset=utf-8
two
== GET /generic?platform=metal&region=a
200 text/plain; charset=utf-8
one
== GET /generic?MAC=52:DA:00:89:D8:11
200 text/plain; charset=utf-8
upper
== GET /generic?region=a&region=b&zone=z
200 text/plain; charset=utf-8
two
=== A MAC that is none is no label, and all others still are. Keys keep their case.
== GET /generic?mac=not-a-mac&region=a
200 text/plain; charset=utf-8
one
== GET /generic?Region=a
404 application/json
{"error":"no group has a machine with Region=a"}
\
=== The default group, which has no selectors, from now on: nothing is restarted.
== file data/groups/default.json
{"id": "default", "profile": "which", "metadata": {"group": "default"}}
== GET /generic?region=c
200 text/plain; charset=utf-8
default
== GET /ipxe
404 application/json
{"error":"profile which has no kernel"}
\
=== Metadata. matchbox has these lines in any order, and no lists.
== file data/groups/metadata.json
{"id": "test-group", "selector": {"mac": "52:54:00:a1:9c:ae"},
 "metadata": {"meta": "data", "etcd": {"name": "node1"}, "some": {"nested": {"data": "some-value"}}}}
== GET /metadata?mac=52-54-00-a1-9c-ae&foo=bar&count=3&gate=true
200 text/plain; charset=utf-8
ETCD_NAME=node1
MAC=52:54:00:a1:9c:ae
META=data
REQUEST_QUERY_COUNT=3
REQUEST_QUERY_FOO=bar
REQUEST_QUERY_GATE=true
REQUEST_QUERY_MAC=52:54:00:a1:9c:ae
REQUEST_RAW_QUERY=mac=52-54-00-a1-9c-ae&foo=bar&count=3&gate=true
SOME_NESTED_DATA=some-value
== file data/groups/default.json
{"id": "default", "profile": "which", "metadata": {"num": 3, "yes": true, "no": false, "request": "overwritten"}}
== GET /metadata
200 text/plain; charset=utf-8
NO=false
NUM=3
REQUEST_RAW_QUERY=
YES=true
=== Pixiecore's JSON, of the MAC alone.
== file data/groups/by-mac.json
{"id": "by-mac", "profile": "cmdline", "selector": {"mac": "52:54:00:89:d8:10"}}
== file data/profiles/cmdline.json
{"id": "cmdline", "boot": {"kernel": "/image/kernel", "initrd": ["/image/initrd_a", "/image/initrd_b"], "cmdline": {"a": "b", "c": ""}}}
== GET /pixiecore/v1/boot/52:54:00:89:d8:10
200 application/json
{"kernel":"http://10.77.0.1:8080/image/kernel","initrd":["http://10.77.0.1:8080/image/initrd_a","http://10.77.0.1:8080/image/initrd_b"],"cmdline":"a=b c"}
== GET /pixiecore/v1/boot/
400 application/json
{"error":"invalid MAC address /: not a MAC address: it takes six pairs of hex digits, as in 52:54:00:12:34:56"}
\
=== A profile that is missing, and what it names and is missing.
== file data/groups/lost.json
{"id": "lost", "profile": "missing", "selector": {"test": "profile"}}
== GET /ipxe?test=profile
404 application/json
{"error":"group lost: there is no profiles/missing.json in FOLDER/data"}
\
== file data/groups/lost.json
{"id": "lost", "profile": "names", "selector": {"test": "profile"}}
== file data/profiles/names.json
{"id": "names", "cloud_id": "missing", "ignition_id": "../profiles/names.json", "generic_id": "plain"}
== file data/generic/plain
{{if}}
== GET /ipxe?test=profile
404 application/json
{"error":"profile names has no kernel"}
\
== GET /cloud?test=profile
404 application/json
{"error":"there is no cloud/missing in FOLDER/data"}
\
== GET /ignition?test=profile
500 application/json
{"error":"\"ignition/../profiles/names.json\" leads out of FOLDER/data"}
\
== GET /generic?test=profile
500 application/json
{"error":"generic/plain:1:5: missing value for if"}
\
== file data/cloud/missing
neither cloud-config nor a script
== GET /cloud?test=profile
500 application/json
{"error":"cloud/missing is neither cloud-config, whose first line is `#cloud-config`, nor a script, which begins with `#!`"}
\
== file data/cloud/missing
#!/bin/sh
echo {{.test}}
== GET /cloud?test=profile
200 text/plain; charset=utf-8
#!/bin/sh
echo profile
=== What a kernel is given is no template, and what iPXE expands is iPXE's.
== file data/groups/braces.json
{"id": "braces", "profile": "braces", "selector": {"test": "braces"}}
== file data/profiles/braces.json
{"id": "braces", "boot": {"kernel": "/k", "args": ["a={{.test}}", "b=${uuid}"]}}
== GET /ipxe?test=braces
200 text/plain; charset=utf-8
#!ipxe
kernel /k a={{.test}} b=${uuid}
boot
=== A group that becomes unreadable stays what it was. matchbox skips it, and its machine boots what the default group says.
== file data/groups/lost.json
{"id": "lost"
== GET /cloud?test=profile
200 text/plain; charset=utf-8
#!/bin/sh
echo profile
