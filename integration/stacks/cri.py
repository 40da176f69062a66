# One call of Kubernetes' Container Runtime Interface: `cri.py SOCKET METHOD JSON`.
#
# Debian 12 has no crictl. The messages below are the part of the interface that the steps use, with the
# field numbers of cri-api's api.proto (runtime.v1). The answer is printed as JSON; ExecSync prints what the
# program wrote and exits with its status.
import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

MESSAGES = {
    "PodSandboxMetadata": "name:1:string uid:2:string namespace:3:string attempt:4:uint32",
    "NamespaceOption": "network:1:int32 pid:2:int32 ipc:3:int32 target_id:4:string",
    "LinuxSandboxSecurityContext": "namespace_options:1:NamespaceOption privileged:6:bool",
    "LinuxPodSandboxConfig": "cgroup_parent:1:string security_context:2:LinuxSandboxSecurityContext",
    "PodSandboxConfig": "metadata:1:PodSandboxMetadata hostname:2:string log_directory:3:string linux:8:LinuxPodSandboxConfig",
    "RunPodSandboxRequest": "config:1:PodSandboxConfig runtime_handler:2:string",
    "RunPodSandboxResponse": "pod_sandbox_id:1:string",
    "StopPodSandboxRequest": "pod_sandbox_id:1:string",
    "StopPodSandboxResponse": "",
    "RemovePodSandboxRequest": "pod_sandbox_id:1:string",
    "RemovePodSandboxResponse": "",
    "PodSandbox": "id:1:string state:3:int32",
    "ListPodSandboxRequest": "",
    "ListPodSandboxResponse": "items:1:PodSandbox*",
    "ContainerMetadata": "name:1:string attempt:2:uint32",
    "ImageSpec": "image:1:string",
    "Mount": "container_path:1:string host_path:2:string readonly:3:bool",
    "Resources": "cpu_period:1:int64 cpu_quota:2:int64 cpu_shares:3:int64 memory_limit_in_bytes:4:int64",
    "Int64Value": "value:1:int64",
    "UInt64Value": "value:1:uint64",
    "Capability": "add_capabilities:1:string* drop_capabilities:2:string*",
    "SecurityProfile": "profile_type:1:int32",
    "SecurityContext": "capabilities:1:Capability privileged:2:bool namespace_options:3:NamespaceOption run_as_user:5:Int64Value "
    "readonly_rootfs:7:bool supplemental_groups:8:int64* no_new_privs:11:bool run_as_group:12:Int64Value "
    "masked_paths:13:string* readonly_paths:14:string* seccomp:15:SecurityProfile",
    "LinuxContainerConfig": "resources:1:Resources security_context:2:SecurityContext",
    "ContainerConfig": "metadata:1:ContainerMetadata image:2:ImageSpec command:3:string* args:4:string* mounts:7:Mount* "
    "log_path:11:string linux:15:LinuxContainerConfig",
    "CreateContainerRequest": "pod_sandbox_id:1:string config:2:ContainerConfig sandbox_config:3:PodSandboxConfig",
    "CreateContainerResponse": "container_id:1:string",
    "StartContainerRequest": "container_id:1:string",
    "StartContainerResponse": "",
    "StopContainerRequest": "container_id:1:string timeout:2:int64",
    "StopContainerResponse": "",
    "RemoveContainerRequest": "container_id:1:string",
    "RemoveContainerResponse": "",
    "ContainerStatus": "id:1:string state:3:int32 exit_code:7:int32 reason:10:string",
    "ContainerStatusRequest": "container_id:1:string verbose:2:bool",
    "ContainerStatusResponse": "status:1:ContainerStatus",
    "UpdateContainerResourcesRequest": "container_id:1:string linux:2:Resources",
    "UpdateContainerResourcesResponse": "",
    "MemoryUsage": "timestamp:1:int64 working_set_bytes:2:UInt64Value",
    "ContainerStats": "memory:3:MemoryUsage",
    "ContainerStatsRequest": "container_id:1:string",
    "ContainerStatsResponse": "stats:1:ContainerStats",
    "ExecSyncRequest": "container_id:1:string cmd:2:string* timeout:3:int64",
    "ExecSyncResponse": "stdout:1:bytes stderr:2:bytes exit_code:3:int32",
    "VersionRequest": "",
    "VersionResponse": "version:1:string runtime_name:2:string",
}


def message(name):
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package="runtime.v1", syntax="proto3")
    for title, fields in MESSAGES.items():
        entry = file.message_type.add(name=title)
        for text in fields.split():
            label, number, kind = text.split(":")
            f = entry.field.add(name=label, number=int(number))
            f.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in MESSAGES:
                f.type, f.type_name = field.TYPE_MESSAGE, ".runtime.v1." + kind
            else:
                f.type = getattr(field, "TYPE_" + kind.upper())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName("runtime.v1." + name))


socket, method, text = sys.argv[1:4]
request = json_format.Parse(text, message(method + "Request")())
answer = message(method + "Response")
channel = grpc.insecure_channel("unix://" + socket, options=[("grpc.enable_http_proxy", 0)])
call = channel.unary_unary(
    "/runtime.v1.RuntimeService/" + method,
    request_serializer=lambda m: m.SerializeToString(),
    response_deserializer=answer.FromString,
)
try:
    response = call(request, timeout=60)
except grpc.RpcError as e:
    sys.exit("%s: %s" % (method, e.details()))
if method == "ExecSync":
    sys.stdout.buffer.write(response.stdout)
    sys.stderr.buffer.write(response.stderr)
    sys.exit(response.exit_code)
print(json.dumps(json_format.MessageToDict(response, preserving_proto_field_name=True)))
