bootcfg as its page of December 2015 has it: boot/ and cloud/, by UUID, by MAC, by default; image assets.

== file data/boot/default
{
    "kernel": "/images/coreos/835.9.0/coreos_production_pxe.vmlinuz",
    "initrd": ["/images/coreos/835.9.0/coreos_production_pxe_image.cpio.gz"],
    "cmdline": {
        "cloud-config-url": "http://172.17.0.2:8080/cloud?uuid=${uuid}",
        "coreos.autologin": ""
    }
}
== file data/cloud/default
#cloud-config
coreos:
  units:
    - name: etcd2.service
      command: start
    - name: fleet.service
      command: start
write_files:
  - path: "/home/core/welcome"
    owner: "core"
    permissions: "0644"
    content: |
      File added by the default cloud-config.
== file data/cloud/uuid/1cff2cd8-f00a-42c8-9426-f55e6a1847f6
#cloud-config
hostname: by-uuid
== file data/cloud/mac/52:54:00:c7:b6:64
#!/bin/sh
echo {{.by-mac}}
== file data/boot/mac/52:54:00:89:d8:10
{"kernel": "/images/kernel", "initrd": ["/images/initrd_a", "/images/initrd_b"], "cmdline": {"c": "", "a": "b"}}
== file data/boot/uuid/1cff2cd8-f00a-42c8-9426-f55e6a1847f6
{"kernel": "http://example.com/kernel"}
== file assets/coreos/835.9.0/coreos_production_pxe.vmlinuz
a kernel
=== The first script. Of iPXE, ${mac} is the interface that it booted from; bootcfg's ${net0/mac} was the first one (PR 410). platform is ours.
== GET /boot.ipxe
200 text/plain; charset=utf-8
#!ipxe
chain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}&serial=${serial}&arch=${buildarch:uristring}&platform=${platform}
== GET /boot.ipxe.0
200 text/plain; charset=utf-8
#!ipxe
chain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}&serial=${serial}&arch=${buildarch:uristring}&platform=${platform}
== GET /ipxe
200 text/plain; charset=utf-8
#!ipxe
kernel /images/coreos/835.9.0/coreos_production_pxe.vmlinuz cloud-config-url=http://172.17.0.2:8080/cloud?uuid=${uuid} coreos.autologin
initrd /images/coreos/835.9.0/coreos_production_pxe_image.cpio.gz
boot
== GET /ipxe?mac=52-54-00-89-D8-10
200 text/plain; charset=utf-8
#!ipxe
kernel /images/kernel a=b c
initrd /images/initrd_a
initrd /images/initrd_b
boot
== GET /ipxe?uuid=1cff2cd8-f00a-42c8-9426-f55e6a1847f6&mac=52:54:00:89:d8:10
200 text/plain; charset=utf-8
#!ipxe
kernel http://example.com/kernel
boot
== GET /ipxe?uuid=another&mac=52:54:00:89:d8:10
200 text/plain; charset=utf-8
#!ipxe
kernel /images/kernel a=b c
initrd /images/initrd_a
initrd /images/initrd_b
boot
== GET /ipxe?mac=no-mac
200 text/plain; charset=utf-8
#!ipxe
kernel /images/coreos/835.9.0/coreos_production_pxe.vmlinuz cloud-config-url=http://172.17.0.2:8080/cloud?uuid=${uuid} coreos.autologin
initrd /images/coreos/835.9.0/coreos_production_pxe_image.cpio.gz
boot
== GET /ipxe?uuid=../mac/52:54:00:89:d8:10
200 text/plain; charset=utf-8
#!ipxe
kernel /images/coreos/835.9.0/coreos_production_pxe.vmlinuz cloud-config-url=http://172.17.0.2:8080/cloud?uuid=${uuid} coreos.autologin
initrd /images/coreos/835.9.0/coreos_production_pxe_image.cpio.gz
boot
=== Pixiecore's JSON: bootcfg has paths, and cmdline as an object, of which Pixiecore makes c="" where the script has c.
== GET /pixiecore/v1/boot/52:54:00:89:d8:10
200 application/json
{"kernel":"http://10.77.0.1:8080/images/kernel","initrd":["http://10.77.0.1:8080/images/initrd_a","http://10.77.0.1:8080/images/initrd_b"],"cmdline":"a=b c"}
== GET /pixiecore/v1/boot/
400 application/json
{"error":"invalid MAC address /: not a MAC address: it takes six pairs of hex digits, as in 52:54:00:12:34:56"}
\
== GET /pixiecore/v1/boot/no-mac
400 application/json
{"error":"invalid MAC address no-mac: not a MAC address: it takes six pairs of hex digits, as in 52:54:00:12:34:56"}
\
=== Cloud-config as it is, whatever it is: no template.
== GET /cloud
200 text/plain; charset=utf-8
#cloud-config
coreos:
  units:
    - name: etcd2.service
      command: start
    - name: fleet.service
      command: start
write_files:
  - path: "/home/core/welcome"
    owner: "core"
    permissions: "0644"
    content: |
      File added by the default cloud-config.
== GET /cloud?mac=52-54-00-c7-b6-64
200 text/plain; charset=utf-8
#!/bin/sh
echo {{.by-mac}}
== GET /cloud?uuid=1cff2cd8-f00a-42c8-9426-f55e6a1847f6&mac=52-54-00-c7-b6-64
200 text/plain; charset=utf-8
#cloud-config
hostname: by-uuid
== GET /cloud?uuid=1cff2cd8-f00a-42c8-9426-f55e6a1847f6 Range:bytes=1-12
206 text/plain; charset=utf-8
cloud-config
\
== GET /ignition
404 application/json
{"error":"a folder of bootcfg has no ignition configurations"}
\
=== Images.
== GET /images/coreos/835.9.0/coreos_production_pxe.vmlinuz
200 application/octet-stream
a kernel
== GET /images/coreos/835.9.0/coreos_production_pxe.vmlinuz Range:bytes=2-7
206 application/octet-stream
kernel
\
== GET /images/../data/boot/default
400 text/plain
400 Bad Request
== GET /images/%2e%2e/data/boot/default
400 text/plain
400 Bad Request
=== Nothing need be restarted. What is no JSON is 500, with its cause; bootcfg has a 404.
== remove data/cloud/default
== GET /cloud?mac=52-54-00-00-00-08
404 application/json
{"error":"there is none of cloud/mac/52:54:00:00:00:08, cloud/default in FOLDER/data"}
\
== file data/boot/default
{"kernel":
== GET /ipxe
500 application/json
{"error":"boot/default: EOF while parsing a value at line 2 column 0"}
\
== remove data/boot/default
== GET /ipxe
404 application/json
{"error":"there is none of boot/default in FOLDER/data"}
\
== GET /pixiecore/v1/boot/52:54:00:00:00:08
404 application/json
{"error":"52:54:00:00:00:08 has no profile, and there is no default_profile; there is none of boot/mac/52:54:00:00:00:08, boot/default in FOLDER/data"}
\
