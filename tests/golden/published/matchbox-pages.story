matchbox's pages: the HTTP API, profiles and groups; an installation in two stages, as its examples have it.

== file data/groups/node1.json
{
  "name": "node1",
  "profile": "etcd",
  "selector": {
    "mac": "52:54:00:89:d8:10"
  },
  "metadata": {
    "fleet_metadata": "role=etcd,name=node1",
    "etcd_name": "node1",
    "etcd_initial_cluster": "node1=http://node1.example.com:2380,node2=http://node2.example.com:2380,node3=http://node3.example.com:2380"
  }
}
== file data/profiles/etcd.json
{
  "id": "etcd",
  "name": "Container Linux with etcd2",
  "cloud_id": "",
  "ignition_id": "worker.ign",
  "generic_id": "some-service.cfg",
  "boot": {
    "kernel": "/assets/coreos/1967.3.0/coreos_production_pxe.vmlinuz",
    "initrd": ["/assets/coreos/1967.3.0/coreos_production_pxe_image.cpio.gz"],
    "args": [
      "coreos.config.url=http://matchbox.foo:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp}",
      "coreos.first_boot=1",
      "coreos.autologin"
    ]
  }
}
== file data/ignition/worker.ign
{
  "ignition": { "version": "2.0.0" },
  "systemd": {
    "units": [{
      "name": "example.service",
      "enable": true,
      "contents": "[Service]\nType=oneshot\nExecStart=/usr/bin/echo Hello World\n\n[Install]\nWantedBy=multi-user.target"
    }]
  }
}
== file data/generic/some-service.cfg
# Untyped generic config file
# Selector
{{.mac}}
# Metadata
{{.etcd_name}}
{{.fleet_metadata}}
# Query
{{.request.query.mac}}
{{.request.query.foo}}
{{.request.query.bar}}
# Special Addition
{{.request.raw_query}}
== file data/groups/grub.json
{"id": "grub", "profile": "grub", "selector": {"mac": "52:54:00:a1:9c:ae"}}
== file data/profiles/grub.json
{"id": "grub", "boot": {"kernel": "(http;matchbox.foo:8080)/assets/coreos/1967.3.0/coreos_production_pxe.vmlinuz",
 "initrd": ["(http;matchbox.foo:8080)/assets/coreos/1967.3.0/coreos_production_pxe_image.cpio.gz"],
 "args": ["coreos.config.url=http://matchbox.foo:8080/ignition", "coreos.first_boot", "coreos.autologin"]}}
== file assets/coreos/1967.3.0/coreos_production_pxe.vmlinuz
a kernel
== GET /ipxe?mac=52-54-00-89-d8-10
200 text/plain; charset=utf-8
#!ipxe
kernel /assets/coreos/1967.3.0/coreos_production_pxe.vmlinuz coreos.config.url=http://matchbox.foo:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp} coreos.first_boot=1 coreos.autologin
initrd /assets/coreos/1967.3.0/coreos_production_pxe_image.cpio.gz
boot
== GET /assets/coreos/1967.3.0/coreos_production_pxe.vmlinuz
200 application/octet-stream
a kernel
=== The page's menu is of an earlier version: one entry, and each argument in quotes. This one is that of matchbox's tests.
== GET /grub?mac=52-54-00-a1-9c-ae
200 text/plain; charset=utf-8
default=0
fallback=1
timeout=1
menuentry "CoreOS (EFI)" {
echo "Loading kernel"
linuxefi "(http;matchbox.foo:8080)/assets/coreos/1967.3.0/coreos_production_pxe.vmlinuz" coreos.config.url=http://matchbox.foo:8080/ignition coreos.first_boot coreos.autologin
echo "Loading initrd"
initrdefi  "(http;matchbox.foo:8080)/assets/coreos/1967.3.0/coreos_production_pxe_image.cpio.gz"
}
menuentry "CoreOS (BIOS)" {
echo "Loading kernel"
linux "(http;matchbox.foo:8080)/assets/coreos/1967.3.0/coreos_production_pxe.vmlinuz" coreos.config.url=http://matchbox.foo:8080/ignition coreos.first_boot coreos.autologin
echo "Loading initrd"
initrd  "(http;matchbox.foo:8080)/assets/coreos/1967.3.0/coreos_production_pxe_image.cpio.gz"
}
== GET /ignition?mac=52:54:00:89:d8:10
200 application/json
{
  "ignition": { "version": "2.0.0" },
  "systemd": {
    "units": [{
      "name": "example.service",
      "enable": true,
      "contents": "[Service]\nType=oneshot\nExecStart=/usr/bin/echo Hello World\n\n[Install]\nWantedBy=multi-user.target"
    }]
  }
}
== GET /generic?mac=52-54-00-89-d8-10&foo=some-param&bar=b
200 text/plain; charset=utf-8
# Untyped generic config file
# Selector
52:54:00:89:d8:10
# Metadata
node1
role=etcd,name=node1
# Query
52:54:00:89:d8:10
some-param
b
# Special Addition
mac=52-54-00-89-d8-10&foo=some-param&bar=b
== GET /cloud?mac=52:54:00:89:d8:10
404 application/json
{"error":"profile etcd has no cloud_id"}
\
== GET /ignition
404 application/json
{"error":"no group has a machine with "}
\
=== Two stages: who says nothing is installed; who says os=installed is what was installed.
== file data/groups/install.json
{
  "id": "stage-0",
  "name": "Flatcar Linux install",
  "profile": "flatcar-install",
  "metadata": {
    "os_channel": "stable",
    "os_version": "2605.6.0",
    "ignition_endpoint": "http://matchbox.example.com:8080/ignition",
    "baseurl": "http://matchbox.example.com:8080/assets/flatcar"
  }
}
== file data/groups/flatcar.json
{
  "id": "stage-1",
  "name": "Flatcar Linux",
  "profile": "flatcar",
  "selector": {
    "os": "installed"
  },
  "metadata": {
  }
}
== file data/profiles/flatcar-install.json
{
  "id": "flatcar-install",
  "name": "Flatcar Linux install to disk",
  "boot": {
    "kernel": "/assets/flatcar/2605.6.0/flatcar_production_pxe.vmlinuz",
    "initrd": [
      "/assets/flatcar/2605.6.0/flatcar_production_pxe_image.cpio.gz"
    ],
    "args": [
      "initrd=flatcar_production_pxe_image.cpio.gz",
      "flatcar.config.url=http://matchbox.example.com:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp}",
      "flatcar.first_boot=yes",
      "console=tty0",
      "console=ttyS0",
      "flatcar.autologin"
    ]
  },
  "ignition_id": "install.ign",
  "generic_id": "install.sh"
}
== file data/profiles/flatcar.json
{"id": "flatcar", "name": "Flatcar Linux", "ignition_id": "flatcar.ign"}
== file data/ignition/install.ign
{"ignition":{"version":"3.3.0"},"systemd":{"units":[{"name":"installer.service","enabled":true}]}}
== file data/ignition/flatcar.ign
{"ignition":{"version":"3.3.0"},"passwd":{"users":[{"name":"core"}]}}
== file data/generic/install.sh
#!/bin/bash -ex
curl --retry 10 "{{.ignition_endpoint}}?{{.request.raw_query}}&os=installed" -o ignition.json
flatcar-install -d /dev/sda -C {{.os_channel}} -V {{.os_version}}{{if index . "baseurl"}} -b {{.baseurl}}{{end}} -i ignition.json
== GET /ipxe?uuid=16e7d8a7-bfa9-428b-9117-363341bb330b&mac=52-54-00-b2-2f-86
200 text/plain; charset=utf-8
#!ipxe
kernel /assets/flatcar/2605.6.0/flatcar_production_pxe.vmlinuz initrd=flatcar_production_pxe_image.cpio.gz flatcar.config.url=http://matchbox.example.com:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp} flatcar.first_boot=yes console=tty0 console=ttyS0 flatcar.autologin
initrd /assets/flatcar/2605.6.0/flatcar_production_pxe_image.cpio.gz
boot
=== For UEFI the same: the profile says initrd= itself.
== GET /ipxe?mac=52-54-00-b2-2f-86&platform=efi
200 text/plain; charset=utf-8
#!ipxe
kernel /assets/flatcar/2605.6.0/flatcar_production_pxe.vmlinuz initrd=flatcar_production_pxe_image.cpio.gz flatcar.config.url=http://matchbox.example.com:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp} flatcar.first_boot=yes console=tty0 console=ttyS0 flatcar.autologin
initrd /assets/flatcar/2605.6.0/flatcar_production_pxe_image.cpio.gz
boot
== GET /generic?mac=52-54-00-b2-2f-86
200 text/plain; charset=utf-8
#!/bin/bash -ex
curl --retry 10 "http://matchbox.example.com:8080/ignition?mac=52-54-00-b2-2f-86&os=installed" -o ignition.json
flatcar-install -d /dev/sda -C stable -V 2605.6.0 -b http://matchbox.example.com:8080/assets/flatcar -i ignition.json
== GET /ignition?mac=52-54-00-b2-2f-86
200 application/json
{"ignition":{"version":"3.3.0"},"systemd":{"units":[{"name":"installer.service","enabled":true}]}}
== GET /ignition?mac=52-54-00-b2-2f-86&os=installed
200 application/json
{"ignition":{"version":"3.3.0"},"passwd":{"users":[{"name":"core"}]}}
=== Several images: a line each, and for UEFI their names, which matchbox leaves to the profile.
== file data/groups/fedora-coreos.json
{"id": "fedora-coreos", "profile": "fedora-coreos-install", "selector": {"mac": "52:54:00:a1:9c:af"}}
== file data/profiles/fedora-coreos-install.json
{
  "id": "fedora-coreos-install",
  "boot": {
    "kernel": "/assets/fedora-coreos/fedora-coreos-36.20220618.3.1-live-kernel-x86_64",
    "initrd": [
      "--name main /assets/fedora-coreos/fedora-coreos-36.20220618.3.1-live-initramfs.x86_64.img",
      "/assets/fedora-coreos/fedora-coreos-36.20220618.3.1-live-rootfs.x86_64.img"
    ],
    "args": ["initrd=main", "coreos.inst.install_dev=/dev/sda", "coreos.inst.ignition_url=http://matchbox.example.com:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp}"]
  }
}
== GET /ipxe?mac=52-54-00-a1-9c-af&platform=pcbios
200 text/plain; charset=utf-8
#!ipxe
kernel /assets/fedora-coreos/fedora-coreos-36.20220618.3.1-live-kernel-x86_64 initrd=main coreos.inst.install_dev=/dev/sda coreos.inst.ignition_url=http://matchbox.example.com:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp}
initrd --name main /assets/fedora-coreos/fedora-coreos-36.20220618.3.1-live-initramfs.x86_64.img
initrd /assets/fedora-coreos/fedora-coreos-36.20220618.3.1-live-rootfs.x86_64.img
boot
== GET /ipxe?mac=52-54-00-a1-9c-af&platform=efi
200 text/plain; charset=utf-8
#!ipxe
kernel /assets/fedora-coreos/fedora-coreos-36.20220618.3.1-live-kernel-x86_64 initrd=main coreos.inst.install_dev=/dev/sda coreos.inst.ignition_url=http://matchbox.example.com:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp} initrd=fedora-coreos-36.20220618.3.1-live-rootfs.x86_64.img
initrd --name main /assets/fedora-coreos/fedora-coreos-36.20220618.3.1-live-initramfs.x86_64.img
initrd --name fedora-coreos-36.20220618.3.1-live-rootfs.x86_64.img /assets/fedora-coreos/fedora-coreos-36.20220618.3.1-live-rootfs.x86_64.img
boot
