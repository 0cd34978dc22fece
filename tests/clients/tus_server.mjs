// A server of tus that is not ours: takes uploads into a folder, and says at which port.
//
//     node tus_server.mjs NODE_MODULES FOLDER
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, directory] = process.argv.slice(2);
const load = async (name) => {
  const found = await import(pathToFileURL(join(modules, name, "dist", "index.js")).href);
  return { ...found.default, ...found };
};
const { Server } = await load("@tus/server");
const { FileStore } = await load("@tus/file-store");
const datastore = new FileStore({ directory, expirationPeriodInMilliseconds: 3_600_000 });
const server = new Server({ path: "/files", datastore });
const listening = server.listen({ host: "127.0.0.1", port: 0 }, () => console.log(listening.address().port));
