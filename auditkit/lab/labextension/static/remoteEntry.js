// What JupyterLab and Notebook 7 look for in a prebuilt extension, a container of module federation, written by hand: nothing
// has to be built.  https://jupyterlab.readthedocs.io/en/stable/extension/extension_dev.html#prebuilt-extensions
(() => {
  "use strict";
  const outputs = new URL("outputs.js", document.currentScript.src);
  let modules; // those that JupyterLab shares, by name and version

  /** A module of JupyterLab's own. */
  async function shared(name) {
    const [{ get }] = Object.values(modules[name]);
    return (await get())();
  }

  (window._JUPYTERLAB ??= {}).auditkit = {
    init(scope) {
      modules = scope;
    },
    async get(name) {
      const { makeMenu, makeRenderers } = await import(outputs);
      const made = name === "./mimeExtension" ? makeRenderers(await shared("@lumino/widgets")) : await makeMenu(shared);
      return () => ({ __esModule: true, default: made });
    },
  };
})();
